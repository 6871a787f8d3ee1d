//! A run: the work, the faults beside it, and what is found when they are over.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowerbird_testbed::random::Random;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::clock::Clock;
use crate::corpus::Corpus;
use crate::crew::Crew;
use crate::harvest::Harvest;
use crate::members::Commands;
use crate::oracle::{Found, Oracle, Wrongs};
use crate::plan::{Fault, Lane, Plan, SCALED, What};
use crate::proxy::{Mood, Proxy};
use crate::services::Services;
use crate::upkeep;

/// How long the sinks may take to be level after that.
const LEVEL: Duration = Duration::from_secs(90);
const SAMPLED_EVERY: Duration = Duration::from_millis(1_500);
/// What a sink may need: the three projections with what each holds between log and store, the
/// clients' buffers, and the program itself.
const MEMORY: u64 = 256 << 20;
/// `sink.max_pending_bytes` of each projection.
const PENDING: u64 = 2 << 20;

/// What a run has shown.
#[derive(Debug, Default)]
pub struct Report {
    pub wrongs: Wrongs,
    pub found: Found,
    /// From the end of the last fault and of the work until everything is level.
    pub recovery: Duration,
    /// How long getting ready took, and the work with its faults.
    pub phases: [Duration; 2],
    /// The most memory that a sink had, in bytes.
    pub peak: u64,
    pub samples: u64,
    /// Requests that the proxy has spoilt, by mood.
    pub struck: String,
    /// Documents that the store has taken, and those of them that it had already, in that form.
    pub written: (u64, u64),
    /// Records that the sinks have settled, where nothing happened to them but scaling.
    pub settled: Option<u64>,
}

/// What the tasks of a run share.
pub struct Stage {
    pub plan: Plan,
    pub services: Services,
    pub proxy: Proxy,
    pub crew: Crew,
    pub harvest: Option<Harvest>,
    pub clock: Option<Clock>,
    pub commands: Commands,
    pub wrongs: Mutex<Wrongs>,
    pub over: AtomicBool,
    /// Whether all steps of [`upkeep`] are done.
    pub kept_up: AtomicBool,
}

/// Carries a plan out in `folder`, which keeps what everybody said.
pub async fn run(plan: Plan, services: &Services, folder: &Path) -> Report {
    let from = Instant::now();
    services.reset().await;
    let mut random = plan.random.clone();
    let proxy = Proxy::start(services.store_address().await, random.branch()).await;
    let mut store = services.store.clone();
    store.set_port(Some(proxy.address.port())).unwrap();
    let settings = [
        ("BOWERBIRD__LOG__URL", format!("kafka://{}", services.brokers.join(","))),
        ("BOWERBIRD__LOG__PARTITIONS", "6".to_owned()),
        ("BOWERBIRD__LOG__REPLICATION", "3".to_owned()),
        ("BOWERBIRD__STORE__URL", store.to_string()),
        ("BOWERBIRD__STORE__TIMEOUT_MS", "3000".to_owned()),
        ("BOWERBIRD__SINK__BATCH_DOCUMENTS", "60".to_owned()),
        ("BOWERBIRD__SINK__MAX_PENDING_BYTES", PENDING.to_string()),
        ("BOWERBIRD__SINK__COMMIT_INTERVAL_MS", "200".to_owned()),
        ("BOWERBIRD__SINK__MAX_BACKOFF_MS", "2000".to_owned()),
    ];
    let right = Commands::new(folder, &settings);
    let clock = plan.has(Lane::Clock).then(|| Clock::new(folder)).flatten();
    let commands = clock.as_ref().map_or_else(|| right.clone(), |clock| clock.ruling(&right));
    let mut corpus = Corpus::new(plan.seed, random.branch());
    if plan.has(Lane::Upkeep) {
        // Only the first generation's database has got a validation.
        corpus = corpus.without_refusals();
    }
    let archives = Arc::new(corpus.archives(folder));
    let mut applying = commands.start("topics", &["topics", "apply"]);
    let applied = applying.end(Duration::from_secs(60)).await;
    assert!(applied.is_some_and(|status| status.success()), "topics apply: {applied:?}");

    let ready = from.elapsed();
    let crew = Crew::new(commands.clone(), plan.named, random.branch());
    crew.scale(plan.members).await;
    let harvest = match plan.has(Lane::Stream) {
        true => Some(Harvest::start(&right, &commands, plan.seed).await),
        false => None,
    };
    let stage = Arc::new(Stage {
        services: services.clone(),
        proxy,
        crew,
        harvest,
        clock,
        commands: commands.clone(),
        wrongs: Mutex::default(),
        over: AtomicBool::new(false),
        kept_up: AtomicBool::new(false),
        plan,
    });
    let mut oracle = Oracle::new(services.log(), services.store());
    if stage.clock.is_some() {
        oracle = oracle.without_clocks();
    }
    let watching = tokio::spawn({
        let stage = Arc::clone(&stage);
        let watched = Oracle::new(services.log(), services.store());
        async move { stage.watch(watched).await }
    });
    let mut faults = JoinSet::new();
    for lane in stage.plan.lanes.clone() {
        let (stage, mut random) = (Arc::clone(&stage), random.branch());
        faults.spawn(async move {
            stage.suffer(&lane, random.branch()).await;
            // What takes longer than the faults of a run has them once more.
            if stage.keeps_up() {
                stage.suffer(&lane, random).await;
            }
        });
    }
    let importing = tokio::spawn({
        let (stage, archives) = (Arc::clone(&stage), Arc::clone(&archives));
        async move { stage.import(&archives).await }
    });
    let keeping_up = tokio::spawn({
        let stage = Arc::clone(&stage);
        async move {
            let Stage { plan, commands, .. } = &*stage;
            let wrongs = upkeep::carry_out(&plan.upkeep, commands).await;
            stage.kept_up.store(true, Ordering::Relaxed);
            wrongs
        }
    });
    let mut acked = stage.publish(&mut corpus).await;
    importing.await.unwrap();
    while let Some(ended) = faults.join_next().await {
        ended.unwrap();
    }
    keeping_up.await.unwrap().into_iter().for_each(|wrong| stage.wrong(wrong));
    stage.crew.at_least_one().await;
    if let Some(harvest) = &stage.harvest {
        harvest.stop().await.into_iter().for_each(|wrong| stage.wrong(wrong));
    }
    if stage.plan.has(Lane::Upkeep) {
        stage.publish_last(&mut corpus, &oracle, &mut acked).await;
    }

    let over = Instant::now();
    let level = async {
        while !oracle.behind().await.is_some_and(|behind| behind.is_empty()) {
            sleep(Duration::from_millis(200)).await;
        }
    };
    if timeout(LEVEL, level).await.is_err() {
        let behind = oracle.behind().await;
        stage.wrong(format!("not level {LEVEL:?} after the last fault: {behind:?}"));
    }
    let phases = [ready, over.duration_since(from) - ready];
    let mut report = Report { recovery: over.elapsed(), phases, ..Report::default() };
    stage.over.store(true, Ordering::Relaxed);
    report.samples = watching.await.unwrap();
    report.wrongs.extend(stage.crew.stop().await);
    report.peak = stage.crew.peak().await;
    if report.peak > MEMORY {
        stage.wrong(format!("a sink had {} MiB of memory", report.peak >> 20));
    }
    let (found, wrongs) = oracle.judge(&archives, &acked).await;
    report.found = found;
    report.wrongs.extend(wrongs);
    let calm = commands.with("BOWERBIRD__STORE__URL", services.store.as_str());
    report.wrongs.extend(verify(&calm).await);
    report.written = stage.proxy.written();
    // Whoever was killed can't tell.
    let settled = stage.crew.records().await;
    report.settled = stage.plan.only_scales().then_some(settled);
    report.struck = format!("{:?}", stage.proxy.struck());
    report.wrongs.extend(std::mem::take(&mut *stage.wrongs.lock().unwrap()));
    if let Some(stage) = Arc::into_inner(stage) {
        stage.proxy.stop().await;
    }
    report
}

impl Stage {
    pub fn wrong(&self, wrong: String) {
        self.wrongs.lock().unwrap().push(wrong);
    }

    /// Samples the committed offsets until the run is over, and looks after the sinks meanwhile.
    async fn watch(&self, mut oracle: Oracle) -> u64 {
        let mut samples = 0;
        while !self.over.load(Ordering::Relaxed) {
            sleep(SAMPLED_EVERY).await;
            let gone = self.crew.look().await;
            gone.into_iter().for_each(|gone| self.wrong(gone));
            if let Some(harvest) = &self.harvest {
                harvest.look().await.into_iter().for_each(|gone| self.wrong(gone));
            }
            if let Some(wrongs) = oracle.sample().await {
                samples += 1;
                wrongs.into_iter().for_each(|wrong| self.wrong(wrong));
            }
        }
        samples
    }

    /// One fault after the other.
    async fn suffer(&self, faults: &[Fault], mut random: Random) {
        for Fault { after, lasts, what } in faults.iter().copied() {
            sleep(after).await;
            let node = usize::try_from(random.between(1, 4)).unwrap();
            match what {
                What::StoreKilled if self.services.store_is_ours() => {
                    self.services.kill_store(lasts).await;
                }
                What::StorePaused if self.services.store_is_ours() => {
                    self.services.pause_store(lasts).await;
                }
                What::Store(mood) => self.be(mood, lasts).await,
                What::StoreFull if self.services.store_fills() => {
                    self.services.fill_store(lasts).await;
                }
                What::StoreFull => self.be(Mood::Full, lasts).await,
                What::StoreKilled => self.be(Mood::Refuse, lasts).await,
                What::StorePaused => self.be(Mood::Silence, lasts).await,
                What::BrokerKilled => self.services.kill_brokers(&[node], lasts).await,
                What::QuorumKilled => {
                    self.services.kill_brokers(&[node, node % 3 + 1], lasts).await;
                }
                What::BrokerPaused => self.services.pause_broker(node, lasts).await,
                What::BrokersCut => self.services.cut_brokers(lasts).await,
                What::BrokerParted => self.services.part_brokers(node, false, lasts).await,
                What::BrokersParted => self.services.part_brokers(node, true, lasts).await,
                What::BrokerFull => self.services.fill_broker(node, lasts).await,
                What::SinkKilled => self.crew.kill_one(lasts).await,
                What::SinkStopped => {
                    self.crew.stop_one(lasts).await.into_iter().for_each(|wrong| self.wrong(wrong));
                }
                What::Scaled(members) => self.scale(members).await,
                What::ScaledInSteps => {
                    for members in &SCALED[1..] {
                        sleep(self.plan.horizon() / SCALED.len() as u32).await;
                        self.scale(*members).await;
                    }
                }
                What::HarvesterKilled | What::HarvesterStopped | What::SourceKilled => {
                    let Some(harvest) = &self.harvest else { continue };
                    match what {
                        What::SourceKilled => harvest.lose_source(lasts).await,
                        _ => harvest.interrupt(what == What::HarvesterKilled, lasts).await,
                    }
                }
                What::ClockStepped(seconds) => {
                    self.clock.iter().for_each(|clock| clock.step(seconds));
                }
                // In the order of its steps, elsewhere.
                What::Rebuilt | What::Replayed => {}
            }
        }
    }

    /// Whether there are steps of [`upkeep`] still to be done.
    pub fn keeps_up(&self) -> bool {
        self.plan.has(Lane::Upkeep) && !self.kept_up.load(Ordering::Relaxed)
    }

    async fn scale(&self, members: usize) {
        self.crew.scale(members).await.into_iter().for_each(|wrong| self.wrong(wrong));
    }

    async fn be(&self, mood: Mood, lasts: Duration) {
        self.proxy.set(mood);
        sleep(lasts).await;
        self.proxy.set(Mood::Calm);
    }
}

/// What the command itself says of log and documents.
pub async fn verify(commands: &Commands) -> Wrongs {
    let mut verifying = commands.start("verify", &["verify", "--output", "json"]);
    match verifying.end(Duration::from_secs(120)).await {
        Some(status) if status.success() => Wrongs::new(),
        ended => vec![format!("verify ended with {ended:?}: {:.2000}", verifying.answered())],
    }
}
