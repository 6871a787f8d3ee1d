//! What the tests of several rooms stand on: services, databases of a test's own, a store with
//! something between it and its writers, a server that answers as it is told, chance by a seed.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

pub mod databases;
#[cfg(feature = "log")]
pub mod log;
pub mod random;
pub mod through;
pub mod wire;

/// The address of a service that the tests need, from the variable that `tests/run` sets.
///
/// # Panics
/// When it is not set: a test fails rather than leave something untested.
pub fn service(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "{variable} is not set: start the tests with tests/run, or set it to a service of yours"
        )
    })
}
