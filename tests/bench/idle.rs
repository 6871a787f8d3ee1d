//! What the command's roles cost while there is nothing to do.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::service;

/// Until start and first looks are over.
const SETTLE: Duration = Duration::from_secs(15);
/// How long they are watched. The kernel counts in hundredths of a second: half a millisecond of
/// this a second.
const WATCHED: Duration = Duration::from_secs(20);
/// Posts a second of the simulated stream: the fewest that it can be told, one in 100 s.
const SILENT: &str = "0.01";
/// A role that runs; it ends with this.
struct Role {
    name: &'static str,
    child: Child,
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Role {
    fn start(
        name: &'static str,
        folder: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_bowerbird"))
            .args(arguments)
            .arg("--quiet")
            .arg("--data")
            .arg(folder)
            .env("BOWERBIRD__ADMIN__LISTEN", "127.0.0.1:0")
            .env("BOWERBIRD__DASHBOARD__LISTEN", "127.0.0.1:0")
            .env("BOWERBIRD__LOG__PARTITIONS", crate::place::PARTITIONS.to_string())
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { name, child }
    }

    /// Processor time so far, with that of threads that have ended.
    fn used(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }
}

/// Prints the table.
pub fn measure(folder: &Path) {
    println!("\n| idle role | on | processor ms a second |\n|---|---|---:|");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let x = free.to_string();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let wfs = free.to_string();
    let log = format!("kafka://{}", service("BOWERBIRD_TEST_KAFKA"));
    let store = service("BOWERBIRD_BENCH_COUCHDB");
    let (x_url, wfs_url) = (format!("http://{x}"), format!("http://{wfs}/wfs"));
    let real = [("BOWERBIRD__LOG__URL", &*log), ("BOWERBIRD__STORE__URL", &*store)];
    let from_x = [("BOWERBIRD__X__BASE_URL", &*x_url), ("BOWERBIRD__X__BEARER_TOKEN", "any")];
    let from_wfs = [("BOWERBIRD__AURIN__BASE_URL", &*wfs_url)];
    let polled = folder.join("polled.toml");
    std::fs::write(&polled, datasets()).unwrap();
    let polled = polled.to_str().unwrap();
    let silent = ("BOWERBIRD__SIM__RATE", SILENT);
    let data = folder.join("idle");
    let _simulators = [
        Role::start("sim x", &data, &["sim", "x", "--listen", &x, "--rate", SILENT], &[]),
        Role::start("sim aurin", &data, &["sim", "aurin", "--listen", &wfs], &[]),
    ];
    std::thread::sleep(Duration::from_secs(1));
    for (on, environment) in [("Kafka and CouchDB", &real[..]), ("SQLite log and store", &[])] {
        let data = folder.join(format!("idle {on}"));
        let role = |name, arguments: &[&str], more: &[(&str, &str)]| {
            Role::start(name, &data, arguments, &[environment, more].concat())
        };
        let mut roles = vec![
            role("sink", &["sink"], &[]),
            role("ingest x", &["ingest", "x"], &from_x),
            role("ingest aurin", &["ingest", "aurin", "--config", polled], &from_wfs),
            role("dashboard", &["dashboard"], &[]),
        ];
        if environment.is_empty() {
            roles.push(Role::start("up", &folder.join("idle up"), &["up"], &[silent]));
        }
        std::thread::sleep(SETTLE);
        let before: Vec<_> = roles.iter().map(Role::used).collect();
        std::thread::sleep(WATCHED);
        for (role, before) in roles.iter_mut().zip(before) {
            let used = role.used() - before;
            assert!(role.child.try_wait().unwrap().is_none(), "{} has ended", role.name);
            let a_second = used.as_secs_f64() * 1_000.0 / WATCHED.as_secs_f64();
            println!("| {} | {on} | {a_second:.1} |", role.name);
        }
    }
}

/// The sample's data sets, polled once a day.
fn datasets() -> String {
    let one = |dataset: bowerbird_sim::wfs::SampleDataset| {
        let (name, id) = (dataset.type_name, dataset.id_property);
        format!(
            "[[aurin.datasets]]\ntype_name = {name:?}\nid_property = {id:?}\n\
             licence = \"CC BY\"\nattribution = \"a sample\"\n"
        )
    };
    bowerbird_sim::wfs::sample_datasets().map(one).concat()
}
