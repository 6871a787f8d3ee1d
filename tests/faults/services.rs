//! The real services: three brokers and a store, and what can be done to them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use bowerbird_store::couch::{CouchConfig, CouchStore};
use bowerbird_store::{AnyStore, Document, DocumentStore};
use bowerbird_stream::kafka::{KafkaConfig, KafkaLog};
use bowerbird_stream::{AnyLog, topic};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde_json::json;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::corpus::FORBIDDEN;
use crate::oracle::DATABASES;

/// How long a command of a service may take: brokers start slowly beside compilers.
const PATIENCE: Duration = Duration::from_secs(120);

/// The services of all runs.
#[derive(Clone, Debug)]
pub struct Services {
    /// `host:port` of each broker.
    pub brokers: Vec<String>,
    /// The store, with a login if it has one.
    pub store: url::Url,
    /// Whether the store may be killed.
    ours: bool,
    /// What this machine lets be done to the brokers: cut, part, fill.
    offers: Vec<String>,
    /// Whether the store has a disk of its own.
    store_fills: bool,
}

impl Services {
    /// What `tests/faults/run` has started.
    pub async fn found() -> Self {
        let brokers = said(kafka(&["bootstrap"]).await).split(',').map(str::to_owned).collect();
        let (store, ours) = match std::env::var("BOWERBIRD_FAULTS_COUCHDB") {
            Ok(url) => (url, false),
            Err(_) => (said(script("pouchdb.sh", &["url"]).await), true),
        };
        let offers = said(kafka(&["offers"]).await).lines().map(str::to_owned).collect();
        let store_fills = ours && said(script("pouchdb.sh", &["offers"]).await) == "fill";
        Self { brokers, store: store.parse().unwrap(), ours, offers, store_fills }
    }

    /// What can't be done on this machine, for people.
    pub fn left_out(&self) -> Vec<&'static str> {
        let all = [
            (self.can("cut"), "connections of brokers are not cut"),
            (self.can("part"), "brokers are not cut from each other"),
            (self.can("fill"), "no disk of a broker is full"),
            (self.store_fills || !self.ours, "no disk of the store is full: the proxy says so"),
            (crate::clock::library().is_some(), "clocks are not stepped"),
        ];
        all.into_iter().filter(|(can, _)| !can).map(|(_, said)| said).collect()
    }

    fn can(&self, what: &str) -> bool {
        self.offers.iter().any(|offered| offered == what)
    }

    /// Where the store listens.
    pub async fn store_address(&self) -> SocketAddr {
        let port = self.store.port_or_known_default().unwrap();
        let address = (self.store.host_str().unwrap(), port);
        tokio::net::lookup_host(address).await.unwrap().next().unwrap()
    }

    /// The store, without anything between.
    pub fn store(&self) -> AnyStore {
        let config = CouchConfig::new(self.store.as_str()).unwrap();
        AnyStore::Couch(CouchStore::new(config).unwrap())
    }

    /// A client of the brokers that knows nothing of runs before.
    pub fn log(&self) -> AnyLog {
        AnyLog::Kafka(KafkaLog::new(KafkaConfig::new(self.brokers.join(","))).unwrap())
    }

    /// Forgets what runs before have left: topics, groups, databases.
    pub async fn reset(&self) {
        // Whatever a run before has left them as.
        said(kafka(&["heal"]).await);
        said(kafka(&["up"]).await);
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.brokers.join(","));
        let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(20)));
        let later = (2..8).map(|number| format!("bowerbird-posts-{number}"));
        let groups = DATABASES.map(|(database, _)| format!("bowerbird-{database}"));
        let groups: Vec<String> = groups.into_iter().chain(later).collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            // What is not there needs no deletion; a group is not empty while a killed member's
            // session lasts.
            let topics = admin.delete_topics(&topic::ALL, &options).await;
            let groups = admin.delete_groups(&groups, &options).await;
            let told = format!("{topics:?} {groups:?}");
            use rdkafka::error::RDKafkaErrorCode as Code;
            let topics_gone = topics.is_ok_and(|results| {
                results
                    .iter()
                    .all(|result| matches!(result, Ok(_) | Err((_, Code::UnknownTopicOrPartition))))
            });
            let groups_gone = groups.is_ok_and(|results| {
                results
                    .iter()
                    .all(|result| matches!(result, Ok(_) | Err((_, Code::GroupIdNotFound))))
            });
            if topics_gone && groups_gone {
                break;
            }
            assert!(Instant::now() < deadline, "the brokers can't be tidied up: {told}");
            sleep(Duration::from_millis(300)).await;
        }
        let store = self.store();
        for name in store.databases().await.unwrap() {
            let base = name.split('-').next().unwrap_or_default();
            if ["posts", "features", "journal", "bowerbird"].contains(&base) {
                store.drop_database(&name).await.unwrap();
            }
        }
        store.create_database("posts").await.unwrap();
        let guard = format!(
            "function (doc) {{ if (doc.text && doc.text.indexOf('{FORBIDDEN}') >= 0) \
             {{ throw({{forbidden: 'not in this database'}}); }} }}"
        );
        let guard =
            Document::new("_design/guard", &json!({ "validate_doc_update": guard })).unwrap();
        let written = store.write("posts", &[guard]).await.unwrap();
        assert!(matches!(written[..], [bowerbird_store::WriteOutcome::Written(_)]), "{written:?}");
    }

    /// kill -9 of brokers, and their return.
    pub async fn kill_brokers(&self, nodes: &[usize], lasts: Duration) {
        for node in nodes {
            said(kafka(&["kill", &node.to_string()]).await);
        }
        sleep(lasts).await;
        for node in nodes {
            said(kafka(&["start", &node.to_string()]).await);
        }
    }

    /// A broker that hangs.
    pub async fn pause_broker(&self, node: usize, lasts: Duration) {
        said(kafka(&["pause", &node.to_string()]).await);
        sleep(lasts).await;
        said(kafka(&["resume", &node.to_string()]).await);
    }

    /// Cuts every connection of every broker, also those between them, again and again.
    pub async fn cut_brokers(&self, lasts: Duration) {
        let until = Instant::now() + lasts;
        while self.can("cut") && Instant::now() < until {
            said(kafka(&["cut"]).await);
            sleep(Duration::from_millis(300)).await;
        }
    }

    /// A broker and the others don't reach each other; with `all`, none reaches another. Clients
    /// reach each of them.
    pub async fn part_brokers(&self, node: usize, all: bool, lasts: Duration) {
        if !self.can("part") {
            return;
        }
        let [one, other] = [node % 3 + 1, (node + 1) % 3 + 1].map(|node| node.to_string());
        said(kafka(&["part", &node.to_string(), &one, &other]).await);
        if all {
            said(kafka(&["part", &one, &other]).await);
        }
        sleep(lasts).await;
        said(kafka(&["heal"]).await);
    }

    /// A broker has no room on its disk for a while. It may end because of that, and is started
    /// again by whoever gave it room.
    pub async fn fill_broker(&self, node: usize, lasts: Duration) {
        if !self.can("fill") {
            return;
        }
        let node = node.to_string();
        said(kafka(&["fill", &node]).await);
        sleep(lasts).await;
        said(kafka(&["free", &node]).await);
        sleep(Duration::from_millis(500)).await;
        said(kafka(&["start", &node]).await);
    }

    /// Whether the store's disk can be filled.
    pub fn store_fills(&self) -> bool {
        self.store_fills
    }

    /// The store has no room on its disk for a while. It is killed before there is room again, and
    /// opened anew: LevelDB goes on behind the record that the full disk has cut off, and loses what
    /// it acknowledges there.
    pub async fn fill_store(&self, lasts: Duration) {
        said(script("pouchdb.sh", &["fill"]).await);
        sleep(lasts).await;
        let killed = script("pouchdb.sh", &["kill"]).await;
        said(script("pouchdb.sh", &["free"]).await);
        // It may have ended by itself.
        drop(killed);
        said(script("pouchdb.sh", &["up"]).await);
    }

    /// Whether the store may be killed and paused.
    pub fn store_is_ours(&self) -> bool {
        self.ours
    }

    /// kill -9 of the store, and its return.
    pub async fn kill_store(&self, lasts: Duration) {
        said(script("pouchdb.sh", &["kill"]).await);
        sleep(lasts).await;
        said(script("pouchdb.sh", &["up"]).await);
    }

    /// A store that hangs.
    pub async fn pause_store(&self, lasts: Duration) {
        said(script("pouchdb.sh", &["pause"]).await);
        sleep(lasts).await;
        said(script("pouchdb.sh", &["resume"]).await);
    }
}

async fn kafka(arguments: &[&str]) -> Output {
    script("kafka.sh", arguments).await
}

async fn script(name: &str, arguments: &[&str]) -> Output {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/services").join(name);
    let running = Command::new(path).args(arguments).stdin(Stdio::null()).output();
    timeout(PATIENCE, running).await.expect("a service answers in time").unwrap()
}

fn said(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
