//! What people do to the generations of posts while there are faults: rebuild, switch, go back,
//! replay; each killed with -9 now and then, and done again until it is done.

use std::time::Duration;

use bowerbird_testbed::random::Random;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::members::{Commands, Member};
use crate::oracle::Wrongs;

/// How long a step may take, faults and all.
const PATIENCE: Duration = Duration::from_secs(150);
const PROJECTION: &str = "posts";
/// Slow enough to be killed in the midst of it.
const REPLAYED_A_SECOND: &str = "800";

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Rebuild,
    Switch,
    Rollback,
    Replay,
}

/// What is done, and after how long it is killed, once or more often.
#[derive(Clone, Debug)]
pub struct Step {
    work: Work,
    killed: Vec<Duration>,
}

impl Step {
    /// The steps of a run.
    pub fn all(rebuilt: bool, replayed: bool, random: &mut Random) -> Vec<Self> {
        let mut work = Vec::new();
        if rebuilt {
            work.extend([Work::Rebuild, Work::Switch]);
            work.extend_from_slice(random.pick(&[
                &[][..],
                &[Work::Rollback],
                &[Work::Rollback, Work::Switch],
            ]));
        }
        if replayed || rebuilt {
            work.insert(random.index(work.len() + 1), Work::Replay);
        }
        let killed = |random: &mut Random| {
            let times = random.below(3);
            (0..times).map(|_| Duration::from_millis(random.between(50, 2_000))).collect()
        };
        work.into_iter().map(|work| Self { work, killed: killed(random) }).collect()
    }
}

/// Takes the steps, one after the other.
pub async fn carry_out(steps: &[Step], commands: &Commands) -> Wrongs {
    let mut wrongs = Wrongs::new();
    // The generation that was made last.
    let mut made: Option<u64> = None;
    for (number, step) in steps.iter().enumerate() {
        let switching = made.unwrap_or_default().to_string();
        let arguments: &[&str] = match step.work {
            Work::Rebuild => &["projections", "rebuild", PROJECTION, "--output", "json"],
            Work::Switch => &["projections", "switch", PROJECTION, "--to", &switching],
            Work::Rollback => &["projections", "rollback", PROJECTION],
            Work::Replay => &["replay", "--topic", PROJECTION, "--rate", REPLAYED_A_SECOND],
        };
        let mut killed = step.killed.iter();
        let deadline = Instant::now() + PATIENCE;
        for attempt in 0.. {
            let name = format!("upkeep-{number}-{attempt}");
            let mut member = commands.start(&name, arguments);
            let ended = match killed.next() {
                Some(after) => match member.end(*after).await {
                    None => {
                        member.kill().await;
                        None
                    }
                    ended => ended,
                },
                None => member.end(deadline.saturating_duration_since(Instant::now())).await,
            };
            wrongs.extend(member.panics());
            let done = ended.is_some_and(|status| status.success());
            if step.work == Work::Rebuild && ended.is_some() {
                let (generation, differences) = rebuilt(&member);
                made = generation.or(made);
                wrongs.extend(differences);
            }
            if done {
                break;
            }
            if Instant::now() > deadline {
                wrongs.push(format!("{name}, {:?}, is not done within {PATIENCE:?}", step.work));
                return wrongs;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
    wrongs
}

/// Which generation was made, and what was found to be other than the log says: the log only
/// grows, and what its group has committed is in the database.
fn rebuilt(member: &Member) -> (Option<u64>, Option<String>) {
    let Ok(report) = serde_json::from_str::<Value>(&member.answered()) else { return (None, None) };
    let wrong = (report["ready"] == false).then(|| {
        format!("{}: not as the log says: {:.1500}", member.name, report["checked"]["log"])
    });
    (report["generation"].as_u64(), wrong)
}
