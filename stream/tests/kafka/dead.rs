//! Members that die without a word: how long the others wait for what they had.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

const PARTITIONS: usize = 4;
const WAIT: Duration = Duration::from_millis(50);
/// What others may need to notice and to share, on a busy machine.
const GRACE: Duration = Duration::from_secs(5);

/// The process that is killed: a member that polls on.
#[tokio::test]
async fn child() {
    let told = |name: &str| std::env::var(format!("BOWERBIRD_TEST_CHILD_{name}"));
    let Ok(topic) = told("TOPIC") else { return };
    let log = log(&brokers());
    let member = member(&told("GROUP").unwrap(), told("INSTANCE").ok().as_deref());
    let member = ConsumerConfig { drain_timeout: PATIENCE, ..member };
    let mut member = log.subscribe(&[&topic], member).await.unwrap();
    let mut draining = Vec::new();
    loop {
        match member.next(1, WAIT).await.unwrap() {
            Delivery::Assigned(partitions) => println!("assigned {}", partitions.len()),
            // It does not come to letting them go, if it is told to be so slow.
            Delivery::Revoked(revocation) if told("SLOW").is_ok() => {
                println!("revoked {}", revocation.partitions.len());
                draining.push(revocation);
            }
            _ => {}
        }
    }
}

fn member(group: &str, instance: Option<&str>) -> ConsumerConfig {
    ConsumerConfig { instance: instance.map(str::to_owned), ..ConsumerConfig::new(group) }
}

/// Killed also when the test fails.
struct Mortal {
    child: Child,
    told: Option<std::io::Lines<BufReader<std::process::ChildStdout>>>,
}

impl Mortal {
    fn born(topic: &str, group: &str, instance: Option<&str>) -> Self {
        Self::of(Self::command(topic, group, instance))
    }

    fn command(topic: &str, group: &str, instance: Option<&str>) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "dead::child", "--nocapture"])
            .env("BOWERBIRD_TEST_CHILD_TOPIC", topic)
            .env("BOWERBIRD_TEST_CHILD_GROUP", group)
            .stdout(Stdio::piped());
        if let Some(instance) = instance {
            command.env("BOWERBIRD_TEST_CHILD_INSTANCE", instance);
        }
        command
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let told = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, told: Some(told) }
    }

    /// Waits until it has partitions.
    async fn assigned(&mut self) {
        self.says("assigned ").await;
    }

    async fn says(&mut self, what: &'static str) {
        let mut lines = self.told.take().unwrap();
        let waiting = tokio::task::spawn_blocking(move || {
            let said = lines.by_ref().map_while(Result::ok).any(|line| line.contains(what));
            assert!(said, "the child has ended");
            lines
        });
        self.told = Some(tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap());
    }

    /// kill -9.
    fn die(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes in what comes until this member has so many partitions.
async fn owns(member: &mut impl EventConsumer, owned: &mut usize, all: usize) {
    let deadline = Instant::now() + PATIENCE;
    while *owned != all {
        assert!(Instant::now() < deadline, "it has {owned} of {all}");
        match member.next(1, WAIT).await.unwrap() {
            Delivery::Assigned(partitions) => *owned += partitions.len(),
            Delivery::Revoked(revocation) => *owned -= revocation.partitions.len(),
            _ => {}
        }
    }
}

/// How long a member needs to have all after another has died: one that was there before, or one
/// that comes right after the death. With `named` both have names that stay.
async fn inherits(named: bool, before: bool) -> Duration {
    let (log, topic) = with_topic(PARTITIONS as u32).await;
    let group = unique("group");
    let name = |name| named.then_some(name);
    let mut owned = 0;
    let mut heir = None;
    if before {
        let mut member = log.subscribe(&[&topic], member(&group, name("heir"))).await.unwrap();
        owns(&mut member, &mut owned, PARTITIONS).await;
        heir = Some(member);
    }
    let mut mortal = Mortal::born(&topic, &group, name("mortal"));
    if let Some(heir) = &mut heir {
        owns(heir, &mut owned, PARTITIONS / 2).await;
    }
    mortal.assigned().await;
    mortal.die();
    let died = Instant::now();
    let mut heir = match heir {
        Some(heir) => heir,
        None => log.subscribe(&[&topic], member(&group, name("heir"))).await.unwrap(),
    };
    owns(&mut heir, &mut owned, PARTITIONS).await;
    let took = died.elapsed();
    heir.close().await.unwrap();
    delete(&topic).await;
    took
}

#[tokio::test]
async fn what_a_dead_member_had_is_anothers_a_session_later() {
    let took = tokio::join!(
        inherits(false, true),
        inherits(true, true),
        inherits(false, false),
        inherits(true, false),
    );
    let most = ConsumerConfig::new("").session_timeout + GRACE;
    for took in [took.0, took.1, took.2, took.3] {
        assert!(took < most, "{took:?}");
    }
}

#[tokio::test]
async fn a_named_member_that_died_has_what_it_had_at_once() {
    let (log, topic) = with_topic(PARTITIONS as u32).await;
    let group = unique("group");
    let mut mortal = Mortal::born(&topic, &group, Some("one"));
    mortal.assigned().await;
    mortal.die();
    let died = Instant::now();
    let mut next = log.subscribe(&[&topic], member(&group, Some("one"))).await.unwrap();
    owns(&mut next, &mut 0, PARTITIONS).await;
    assert!(died.elapsed() < Duration::from_secs(4), "{:?}", died.elapsed());
    next.close().await.unwrap();
    delete(&topic).await;
}

#[tokio::test]
async fn what_a_named_member_was_about_to_let_go_when_it_died_gets_an_owner() {
    let (log, topic) = with_topic(PARTITIONS as u32).await;
    let group = unique("group");
    let mut slow = Mortal::command(&topic, &group, Some("one"));
    slow.env("BOWERBIRD_TEST_CHILD_SLOW", "yes");
    let mut mortal = Mortal::of(slow);
    mortal.assigned().await;
    let quick = |name| ConsumerConfig {
        drain_timeout: Duration::from_secs(1),
        ..member(&group, Some(name))
    };
    let mut heir = log.subscribe(&[&topic], quick("two")).await.unwrap();
    let hearing = async {
        loop {
            drop(heir.next(1, WAIT).await.unwrap());
        }
    };
    tokio::select! {
        () = mortal.says("revoked ") => {}
        () = hearing => {}
    }
    mortal.die();
    // It is back within its session, and is given what was left to it: the other half is nobody's.
    let mut next = log.subscribe(&[&topic], quick("one")).await.unwrap();
    let (mut owned, deadline) = ([0, 0], Instant::now() + PATIENCE);
    while owned[0] + owned[1] != PARTITIONS || owned[1] == 0 {
        assert!(Instant::now() < deadline, "they have {owned:?} of {PARTITIONS}");
        for (member, owned) in [&mut next, &mut heir].into_iter().zip(&mut owned) {
            match member.next(1, WAIT).await.unwrap() {
                Delivery::Assigned(partitions) => *owned += partitions.len(),
                Delivery::Revoked(revocation) => *owned -= revocation.partitions.len(),
                _ => {}
            }
        }
    }
    next.close().await.unwrap();
    heir.close().await.unwrap();
    delete(&topic).await;
}

#[tokio::test]
async fn a_session_that_the_broker_refuses_is_named() {
    let (log, topic) = with_topic(1).await;
    let session_timeout = Duration::from_millis(500);
    let short = ConsumerConfig { session_timeout, ..config(&unique("group")) };
    let mut member = log.subscribe(&[&topic], short).await.unwrap();
    let error = until(&mut member, "the trouble", as_trouble).await;
    assert!(error.is_transient(), "brokers can be changed: {error:?}");
    let text = error.to_string();
    assert!(text.contains("500 ms") && text.contains("sink.session_timeout_ms"), "{text}");
    member.close().await.unwrap();
    delete(&topic).await;
}
