//! From the file and the environment to the typed configuration, with every mistake at once.

use std::collections::BTreeMap;
use std::path::Path;

use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::file::Entry;
use super::key::{self, Tree};
use super::secret::Secret;
use super::{Config, HttpUrl, LogUrl, StoreUrl, env, file};
use crate::error::{InfraError, Problem};

/// Where a value that differs from the defaults came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Which of the sources.
    pub source: Source,
    /// The file with its line, or the environment variable.
    pub place: String,
}

/// What can set a value; a later one goes before an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The file.
    File,
    /// The environment.
    Environment,
}

/// A configuration, and where its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// By `section.key`, where each value that was set came from.
    pub origins: BTreeMap<String, Origin>,
}

/// Loads the configuration from the text of a file, if there is one, and from environment
/// variables. Files that `*_file` keys name are read here.
///
/// # Errors
/// [`InfraError::Invalid`] with everything that is wrong, or [`InfraError::Unreadable`] when the
/// file of a secret can't be read.
pub fn load(
    file: Option<(&Path, &str)>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, InfraError> {
    let (mut tree, mut origins, mut problems) = (Tree::new(), BTreeMap::new(), Vec::new());
    let from_file = file.map(|(path, text)| file::read(&path.display().to_string(), text));
    let sources = [(Source::File, from_file), (Source::Environment, Some(env::read(variables)))];
    for (source, (entries, found)) in
        sources.into_iter().filter_map(|(source, read)| Some((source, read?)))
    {
        problems.extend(found);
        for Entry { section, key, value, place } in entries {
            tree.entry(section.to_owned()).or_default().insert(key.name.clone(), value);
            origins.insert(format!("{section}.{}", key.name), Origin { source, place });
        }
    }
    read_secrets(&mut tree, &origins, &mut problems)?;
    if problems.is_empty() {
        match typed(&tree, &origins) {
            Ok(config) => {
                problems = checked(&config, &origins);
                if problems.is_empty() {
                    return Ok(Loaded { config, origins });
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    Err(InfraError::Invalid(problems))
}

/// Reads the files of `*_file` keys. A secret that is set directly goes before one whose file was
/// named by a weaker source; two of the same strength contradict each other.
fn read_secrets(
    tree: &mut Tree,
    origins: &BTreeMap<String, Origin>,
    problems: &mut Vec<Problem>,
) -> Result<(), InfraError> {
    for section in key::sections() {
        for key in &section.keys {
            let Some(secret) = section.secret_of(key) else { continue };
            let file_path = format!("{}.{}", section.name, key.name);
            let secret_path = format!("{}.{}", section.name, secret.name);
            let Some(named) = origins.get(&file_path) else { continue };
            if let Some(direct) = origins.get(&secret_path) {
                if direct.source == named.source {
                    let message = format!("{file_path} and {secret_path} are both set; unset one");
                    problems.push(Problem { place: named.place.clone(), message });
                }
                continue;
            }
            let Some(values) = tree.get_mut(&section.name) else { continue };
            let Some(path) = values.get(&key.name).and_then(Value::as_str) else { continue };
            let read = Secret::read(Path::new(path)).map_err(|error| InfraError::Unreadable {
                what: file_path.clone(),
                path: path.into(),
                reason: error.to_string(),
            })?;
            let text = read.get().expose_secret().to_owned();
            values.insert(secret.name.clone(), Value::String(text));
        }
    }
    Ok(())
}

fn typed(tree: &Tree, origins: &BTreeMap<String, Origin>) -> Result<Config, Problem> {
    let value = serde_json::to_value(tree).unwrap_or_default();
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let known = origins.iter().find(|(key, _)| path.starts_with(key.as_str()));
        let place = known.map_or_else(|| path.clone(), |(_, origin)| origin.place.clone());
        Problem { place, message: format!("{path}: {}", error.inner()) }
    })
}

/// What can't be said of one key alone.
fn checked(config: &Config, origins: &BTreeMap<String, Origin>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut demand = |holds: bool, key: &str, message: &str| {
        if !holds {
            let place = origins.get(key).map_or("the defaults", |origin| &origin.place);
            let message = format!("{key}: {message}");
            problems.push(Problem { place: place.to_owned(), message });
        }
    };
    let Config { log, store, x: _, aurin, sink, dashboard, .. } = config;
    demand(
        sink.batch_bytes <= sink.max_pending_bytes,
        "sink.batch_bytes",
        "a batch is larger than sink.max_pending_bytes allows to be held; it must not be",
    );
    demand(
        dashboard.listen.0.ip().is_loopback(),
        "dashboard.listen",
        "the dashboard has no login, so it listens on loopback only, such as 127.0.0.1:7600; \
         reach it from elsewhere by an SSH tunnel or behind a proxy that asks for a login",
    );
    let user_of_log = matches!(&log.url, Some(LogUrl::Kafka { userinfo: Some(_), .. }));
    let user_of_store =
        matches!(&store.url, Some(StoreUrl::Couch(HttpUrl { userinfo: Some(_), .. })));
    let secrets = [
        ("log.password", log.user.is_some() || user_of_log, &log.password),
        ("store.password", store.user.is_some() || user_of_store, &store.password),
        (
            "aurin.password",
            aurin.user.is_some() || aurin.base_url.userinfo.is_some(),
            &aurin.password,
        ),
    ];
    for (key, user, password) in secrets {
        let user_key = key.replace("password", "user");
        let message = format!("a password without a user; set {user_key}");
        demand(user || password.is_none(), key, &message);
    }
    for (at, dataset) in aurin.datasets.iter().enumerate() {
        let twice = aurin.datasets[..at].iter().any(|other| other.type_name == dataset.type_name);
        let message = format!("{} is declared twice", dataset.type_name);
        demand(!twice, "aurin.datasets", &message);
    }
    problems
}
