//! Secrets that were not configured: asked for on a terminal, and named elsewhere.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use bowerbird_testbed::wire::{http, serve};
use tokio::task::JoinSet;

use crate::harness::{Ran, Service, bowerbird, eventually, folder};

/// Runs the same command on a terminal, and types `typed` when the echo is off. What it shows is in
/// `out`.
fn on_terminal(command: &Command, folder: &Path, typed: &str) -> Ran {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words = words.map(|word| format!("'{}'", word.to_str().unwrap()));
    let line = format!("tty; exec {}", words.collect::<Vec<_>>().join(" "));
    // Of coreutils and util-linux, which every Debian has.
    let mut script = Command::new("timeout");
    script.args(["60", "script", "--quiet", "--return", "--echo", "always", "--command", &line]);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let script = script.arg("/dev/null").current_dir(folder).stderr(Stdio::inherit());
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap());
    let mut out = String::new();
    shown.read_line(&mut out).unwrap();
    let terminal = out.trim().to_owned();
    // What is typed before that would be thrown away.
    eventually("the echo is off", || {
        let state = Command::new("stty").args(["-a", "-F", &terminal]).output().unwrap();
        String::from_utf8(state.stdout).unwrap().contains(" -echo ").then_some(())
    });
    let mut keys = child.stdin.take().unwrap();
    keys.write_all(typed.as_bytes()).unwrap();
    shown.read_to_string(&mut out).unwrap();
    // Held until here: without keys the terminal would be gone.
    drop(keys);
    Ran { code: child.wait().unwrap().code(), out, err: String::new() }
}

/// A data set of the sample WFS.
const SAMPLE: &str =
    "datasource-AU_Govt_ABS-UoM_AURIN_DB_3:abs_personal_income_total_income_sa2_2011_2018";
const SAMPLE_ID: &str = "sa2_code";

/// Polls a sample WFS as a user whose password is not configured.
fn ingest_aurin(folder: &Path, wfs: &str) -> Command {
    std::fs::write(
        folder.join("bowerbird.toml"),
        format!(
            "[[aurin.datasets]]\ntype_name = '{SAMPLE}'\nid_property = '{SAMPLE_ID}'\n\
             licence = 'none'\nattribution = 'nobody'\n"
        ),
    )
    .unwrap();
    let mut command = bowerbird(folder, &["ingest", "aurin", "--once"]);
    command.env("BOWERBIRD__AURIN__BASE_URL", wfs).env("BOWERBIRD__AURIN__USER", "ada");
    command
}

#[test]
fn a_missing_password_is_asked_for_without_echo() {
    let folder = folder();
    let folder = folder.path();
    let mut sim = Service::start(bowerbird(folder, &["sim", "aurin", "--listen", "127.0.0.1:0"]));
    let command = ingest_aurin(folder, &sim.first_line());
    let ran = on_terminal(&command, folder, "hunter2\n").ends(0);
    assert!(ran.out.contains("the password of ada for http://127.0.0.1"), "{ran:?}");
    assert!(ran.out.contains("complete") && !ran.out.contains("hunter2"), "{ran:?}");
    let ran = on_terminal(&command, folder, "\n").ends(2);
    assert!(ran.out.contains("BOWERBIRD__AURIN__PASSWORD"), "{ran:?}");
}

#[test]
fn without_a_terminal_the_variable_and_the_key_are_named() {
    let folder = folder();
    let folder = folder.path();
    let ran = Ran::of(ingest_aurin(folder, "http://127.0.0.1:1").output().unwrap());
    ran.ends(2).says(&["BOWERBIRD__AURIN__PASSWORD", "aurin.password_file"]);
    for (command, variable, url, expected) in [
        ("verify", "BOWERBIRD__STORE__URL", "http://ada@127.0.0.1:1", "store.password_file"),
        ("lag", "BOWERBIRD__LOG__URL", "kafka://ada@127.0.0.1:1", "log.password_file"),
        ("config check", "BOWERBIRD__STORE__URL", "http://ada@127.0.0.1:1", "store.password_file"),
    ] {
        let arguments: Vec<&str> = command.split(' ').collect();
        let ran = bowerbird(folder, &arguments).env(variable, url).output().unwrap();
        Ran::of(ran).ends(2).says(&[expected, "the password of ada for "]);
    }
    // What needs no log and no store needs no secret of theirs.
    let mut plan = bowerbird(folder, &["ingest", "archive", "--dry-run", "-"]);
    Ran::of(plan.env("BOWERBIRD__LOG__URL", "kafka://ada@127.0.0.1:1").output().unwrap()).ends(0);
}

#[test]
fn the_file_of_a_refused_token_is_read_again() {
    let folder = folder();
    let folder = folder.path();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut tasks = JoinSet::new();
    let serving = serve(&mut tasks, |request| match request.contains("Bearer hunter3") {
        true => http("200 OK", "", "\r\n"),
        false => http("401 Unauthorized", "", r#"{"title":"Unauthorized"}"#),
    });
    let address = runtime.block_on(serving);
    let token = folder.join("token");
    std::fs::write(&token, "hunter2\n").unwrap();
    let mut ingest = bowerbird(folder, &["ingest", "x"]);
    ingest
        .env("BOWERBIRD__X__BASE_URL", format!("http://{address}"))
        .env("BOWERBIRD__X__BEARER_TOKEN_FILE", &token);
    let ingest = Service::start(ingest);
    ingest.logs("x.bearer_token_file is read again");
    std::fs::write(&token, "hunter3\n").unwrap();
    ingest.logs("connected endpoint");
    ingest.signal("TERM");
    let ran = ingest.end().ends(0);
    assert!(!ran.err.contains("hunter"), "{ran:?}");
}
