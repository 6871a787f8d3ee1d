//! The configuration as its users meet it: what is accepted, what is refused and in which words.

use std::path::Path;

use bowerbird_infra::InfraError;
use bowerbird_infra::config::{self, Config, Loaded, LogUrl, StoreUrl};
use secrecy::ExposeSecret;

type Variables<'a> = &'a [(&'a str, &'a str)];

fn load(text: &str, variables: Variables<'_>) -> Result<Loaded, InfraError> {
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    config::load(Some((Path::new("bowerbird.toml"), text)), variables)
}

#[test]
fn nothing_configured_is_the_defaults() {
    let loaded = config::load(None, []).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.origins.is_empty());
}

#[test]
fn the_environment_goes_before_the_file_and_each_origin_is_known() {
    let file = "[log]\nurl = \"kafka://one:9092\"\npartitions = 6\n\n[sim]\nrate = 5\n";
    let variables: Variables<'_> = &[
        ("BOWERBIRD__LOG__URL", "kafka://two:9092,three:9092"),
        ("BOWERBIRD__LOG__TLS", "true"),
        ("BOWERBIRD__SINK__WRITERS", "4"),
        ("BOWERBIRD__X__EXPANSIONS", "author_id, geo.place_id"),
        ("BOWERBIRD__STORE__USER", ""),
        ("UNRELATED", "x"),
    ];
    let Loaded { config, origins } = load(file, variables).unwrap();
    let brokers = "two:9092,three:9092".to_owned();
    assert_eq!(config.log.url, Some(LogUrl::Kafka { brokers, userinfo: None }));
    assert_eq!((config.log.partitions, config.log.tls, config.sink.writers), (6, true, 4));
    assert_eq!(config.x.expansions, ["author_id", "geo.place_id"]);
    assert!((config.sim.rate - 5.0).abs() < f64::EPSILON);
    assert_eq!(config.store.user, None);
    assert_eq!(origins["log.url"].place, "BOWERBIRD__LOG__URL");
    assert_eq!(origins["log.partitions"].place, "bowerbird.toml:3");
    assert_eq!(origins["sim.rate"].place, "bowerbird.toml:6");
    assert!(!origins.contains_key("store.url"));
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_what_would_be_right() {
    let cases: &[(&str, Variables<'_>, &[&str])] = &[
        (
            "[log]\nurls = \"x\"\n",
            &[],
            &["bowerbird.toml:2: there is no key log.urls", "mean url?"],
        ),
        ("[sinks]\n", &[], &["bowerbird.toml:1: there is no section", "did you mean sink?"]),
        ("[store]\npartitions = 3\n", &[], &["did you mean log.partitions?"]),
        ("log = 3\n", &[], &["log is a section: write [log]"]),
        (
            "[log]\npartitions = 0\n",
            &[],
            &["toml:2: log.partitions takes an integer from 1 to 1000, not 0"],
        ),
        ("[log]\npartitions = \"6\"\n", &[], &["takes an integer", "not this text"]),
        ("[log]\ntls = 1\n", &[], &["log.tls takes true or false, not 1"]),
        ("[log]\nsasl_mechanism = \"MD5\"\n", &[], &["one of PLAIN, SCRAM-SHA-256"]),
        ("[x]\nexpansions = [1]\n", &[], &["x.expansions takes a list of texts"]),
        ("[sim]\nrate = nan\n", &[], &["sim.rate holds no finite number"]),
        (
            "[log]\nurl = \"redis://h\"\n",
            &[],
            &["bowerbird.toml:2: log.url: expected sqlite:PATH or kafka://"],
        ),
        ("[log\n", &[], &["bowerbird.toml:1: "]),
        ("[dashboard]\nlisten = \"0.0.0.0:80\"\n", &[], &["loopback only", "SSH tunnel"]),
        ("[admin]\nlisten = \"9000\"\n", &[], &["IP:PORT"]),
        ("[sink]\nbatch_bytes = 20000000\n", &[], &["max_pending_bytes"]),
        ("", &[("BOWERBIRD__LOG__PASSWORD", "x")], &["log.password: a password without a user"]),
        (
            "",
            &[("BOWERBIRD__LOG__URLL", "x")],
            &["BOWERBIRD__LOG__URLL: there is no key log.urll", "mean url?"],
        ),
        ("", &[("BOWERBIRD__SINC__X", "x")], &["no section sinc; did you mean sink?"]),
        ("", &[("BOWERBIRD__LOG", "x")], &["SECTION__KEY"]),
        ("", &[("BOWERBIRD__SINK__WRITERS", "many")], &["WRITERS: takes an integer from 1 to 64"]),
        (
            "",
            &[("BOWERBIRD__SINK__WRITERS", "99")],
            &["writers takes an integer from 1 to 64, not 99"],
        ),
        ("[[aurin.datasets]]\ntype_name = \"a\"\n", &[], &["aurin.datasets[0] needs id_property"]),
        (
            "[[aurin.datasets]]\nlicense = \"a\"\n",
            &[],
            &["aurin.datasets[0].license; did you mean licence?"],
        ),
    ];
    for (file, variables, says) in cases {
        let error = load(file, variables).expect_err(file).to_string();
        for said in *says {
            assert!(error.contains(said), "{file}{variables:?}: {said:?} is not in\n{error}");
        }
    }
}

#[test]
fn all_mistakes_are_listed_at_once() {
    let error = load("[log]\na = 1\nb = 2\n", &[("BOWERBIRD__NO__KEY", "x")]).unwrap_err();
    let InfraError::Invalid(problems) = error else { panic!("{error}") };
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn secrets_are_refused_in_the_file_and_shown_nowhere() {
    for key in ["log.password", "store.password", "x.bearer_token", "aurin.password"] {
        let (section, name) = key.split_once('.').unwrap();
        let error = load(&format!("[{section}]\n{name} = \"hunter2\"\n"), &[]).unwrap_err();
        let error = error.to_string();
        let variable = format!("BOWERBIRD__{}__{}", section.to_uppercase(), name.to_uppercase());
        assert!(error.contains(&variable) && error.contains(&format!("{key}_file")), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let broken = load("[store]\npassword = \"hunter2\n", &[]).unwrap_err().to_string();
    assert!(!broken.contains("hunter2"), "{broken}");

    let file = "[store]\nurl = \"http://ada:hunter2@localhost:5984\"\n[log]\nuser = \"ada\"\n";
    let loaded = load(file, &[("BOWERBIRD__LOG__PASSWORD", "hunter2")]).unwrap();
    let Some(StoreUrl::Couch(url)) = &loaded.config.store.url else { panic!("{loaded:?}") };
    let password = url.userinfo.as_ref().unwrap().password.as_ref().unwrap().get();
    assert_eq!(password.expose_secret(), "hunter2");
    let settings = config::settings(&loaded);
    let shown = [format!("{loaded:?}"), config::to_toml(&settings), format!("{settings:?}")];
    for shown in shown {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_secret_is_read_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "hunter2\n").unwrap();
    let path = path.to_str().unwrap();
    let file = format!("[x]\nbearer_token_file = {path:?}\n");
    let token =
        |loaded: Loaded| loaded.config.x.bearer_token.unwrap().get().expose_secret().to_owned();
    assert_eq!(token(load(&file, &[]).unwrap()), "hunter2");

    let stronger = load(&file, &[("BOWERBIRD__X__BEARER_TOKEN", "other")]).unwrap();
    assert_eq!(token(stronger), "other");
    let both = [("BOWERBIRD__X__BEARER_TOKEN", "other"), ("BOWERBIRD__X__BEARER_TOKEN_FILE", path)];
    assert!(load("", &both).unwrap_err().to_string().contains("both set"));

    std::fs::write(path, "\n").unwrap();
    assert!(load(&file, &[]).unwrap_err().to_string().contains("is empty"));
    let missing =
        load("[x]\nbearer_token_file = \"/nowhere/token\"\n", &[]).unwrap_err().to_string();
    assert!(missing.contains("x.bearer_token_file /nowhere/token can't be read"), "{missing}");
}

#[test]
fn data_sets_are_tables() {
    let file = r#"
        [[aurin.datasets]]
        type_name = "a:b"
        id_property = "id"
        licence = "CC-BY-4.0"
        attribution = "ABS"
        interval_s = 60
    "#;
    let loaded = load(file, &[]).unwrap();
    assert_eq!(loaded.config.aurin.datasets[0].interval_s, 60);
    let twice = load(&file.repeat(2), &[]).unwrap_err().to_string();
    assert!(twice.contains("a:b is declared twice"), "{twice}");
}

#[test]
fn the_template_is_valid_as_it_is_and_with_every_line_put_in_force() {
    let template = config::template();
    let loaded = load(&template, &[]).unwrap();
    assert_eq!(loaded.config, Config::default());

    // The files that examples name are not there.
    let alone = |line: &str| !line.contains("_file =");
    let in_force: Vec<&str> = template
        .lines()
        .filter(|line| alone(line))
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect();
    let loaded = load(&in_force.join("\n"), &[]).unwrap();
    assert!(loaded.config.log.url.is_some() && loaded.config.aurin.datasets.len() == 1);
}

#[test]
fn what_is_shown_as_in_force_can_be_read_again() {
    let loaded = load("[log]\nurl = \"kafka://one:9092\"\n[sim]\nseed = 7\n", &[]).unwrap();
    let shown = config::to_toml(&config::settings(&loaded));
    assert!(shown.contains("seed = 7  # bowerbird.toml:4"), "{shown}");
    assert!(shown.contains("# password is not set"), "{shown}");
    assert_eq!(load(&shown, &[]).unwrap().config, loaded.config);
}

#[test]
fn every_key_is_documented() {
    let reference = config::reference();
    for setting in config::settings(&config::load(None, []).unwrap()) {
        let heading = format!("### `{}`\n\n", setting.key);
        let described = reference.split(&heading).nth(1).and_then(|rest| rest.lines().next());
        assert!(described.is_some_and(|line| line.len() > 10), "{} has no words", setting.key);
    }
}
