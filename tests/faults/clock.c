// A wall clock that is off by as many seconds as a file says, for the process that this is loaded into before libc
// (LD_PRELOAD). What measures how long something takes (CLOCK_MONOTONIC) stays as it is.
//
// A wait for a condition ends at a time of the wall clock unless the condition was made for another clock, which none
// in the command is.
//
// Debian's faketime (0.9.10) would do the same, but does not know C11's cnd_timedwait, by which librdkafka waits: each
// wait would take as long as the clock is ahead.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static const int64_t right = 0;
static const int64_t *off = &right;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("FAULTS_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *there = mmap(NULL, sizeof *off, PROT_READ, MAP_SHARED, file, 0);
  if (there != MAP_FAILED) off = there;
  close(file);
}

static int64_t ahead(void) { return __atomic_load_n(off, __ATOMIC_RELAXED); }

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += ahead();
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *now) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (now) *now = exact.tv_sec;
  return exact.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
  clock_gettime(CLOCK_REALTIME, now);
  return base;
}

int pthread_cond_timedwait(pthread_cond_t *restrict met, pthread_mutex_t *restrict held,
                           const struct timespec *restrict until) {
  struct timespec real = *until;
  real.tv_sec -= ahead();
  return pthread_cond_clockwait(met, held, CLOCK_REALTIME, &real);
}

int cnd_timedwait(cnd_t *restrict met, mtx_t *restrict held, const struct timespec *restrict until) {
  switch (pthread_cond_timedwait((pthread_cond_t *)met, (pthread_mutex_t *)held, until)) {
    case 0: return thrd_success;
    case ETIMEDOUT: return thrd_timedout;
    default: return thrd_error;
  }
}
