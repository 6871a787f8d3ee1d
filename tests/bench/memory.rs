//! Peak memory of the command's roles, with a backlog of events waiting on Kafka.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{corpus, service};

/// Peak resident memory in MiB of the import of `backlog` posts, and of the sink that drains them.
pub fn measure(folder: &Path, backlog: u64) -> Vec<(&'static str, f64)> {
    let file = corpus::file(folder, backlog);
    let data = folder.join(format!("data-{backlog}"));
    let start = |arguments: &[&str]| {
        let child = Command::new(env!("CARGO_BIN_EXE_bowerbird"))
            .args(arguments)
            .arg("--quiet")
            .arg("--data")
            .arg(&data)
            .env("BOWERBIRD__LOG__URL", format!("kafka://{}", service("BOWERBIRD_TEST_KAFKA")))
            .env("BOWERBIRD__LOG__PARTITIONS", "6")
            .env("BOWERBIRD__STORE__URL", format!("sqlite:{}/store.sqlite", data.display()))
            .env("BOWERBIRD__ADMIN__LISTEN", "127.0.0.1:0")
            .stdout(Stdio::null())
            .spawn();
        peak(child.unwrap())
    };
    // What earlier measurements left is not part of the backlog.
    start(&["sink", "--once"]);
    let import = start(&["ingest", "archive", file.to_str().unwrap()]);
    let sink = start(&["sink", "--once"]);
    std::fs::remove_file(file).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    vec![("ingest archive", import), ("sink", sink)]
}

/// Waits for the end of a process, which must be a good one, and tells its high-water mark.
fn peak(mut child: Child) -> f64 {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0.0;
    loop {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = mark.and_then(|mark| mark.split_whitespace().next()?.parse::<f64>().ok());
        peak = kib.map_or(peak, |kib| kib / 1024.0);
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{ended}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
