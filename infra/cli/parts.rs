//! From the configuration to the parts: the one place that builds them.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use bowerbird_infra::config::{Account, Dataset, HttpUrl, LogUrl, SaslMechanism, Secret, StoreUrl};
use bowerbird_ingest::Renewal;
use bowerbird_ingest::archive::{ArchiveConfig, Input, usual_workers};
use bowerbird_ingest::aurin::{AurinConfig, DatasetConfig, Schedule};
use bowerbird_ingest::x::rules::Rule;
use bowerbird_ingest::x::{Limits, XConfig};
use bowerbird_mapreduce::couch::CouchViews;
use bowerbird_mapreduce::quickjs::{QuickJsConfig, QuickJsViews};
use bowerbird_mapreduce::{AnyViews, Design, ViewError, design};
use bowerbird_sink::SinkConfig;
use bowerbird_sink::compliance::keep::Keeping;
use bowerbird_store::AnyStore;
use bowerbird_store::couch::{self, CouchConfig, CouchStore};
use bowerbird_store::sqlite::SqliteStore;
use bowerbird_stream::kafka::{KafkaConfig, KafkaLog, Login, Mechanism};
use bowerbird_stream::sqlite::SqliteLog;
use bowerbird_stream::topic::{self, TopicSpec};
use bowerbird_stream::{AnyLog, EventLog as _, LogError};
use jiff::Timestamp;
use secrecy::SecretString;

use crate::failure::WrongUse;
use crate::folder;
use crate::settings::Settings;

/// The longest jitter that is not asked for, in seconds.
const MOST_JITTER_S: u64 = 600;

/// The event log as configured.
///
/// # Errors
/// When it can't be used.
pub async fn log(settings: &Settings) -> anyhow::Result<AnyLog> {
    match settings.log_url() {
        LogUrl::Sqlite(path) => {
            make_parent(&path)?;
            Ok(SqliteLog::open(&path).await?.into())
        }
        LogUrl::Kafka { brokers, .. } => Ok(KafkaLog::new(kafka(settings, brokers))?.into()),
    }
}

/// Has the embedded log erase what is due. It does so by itself, but not before it has been open for a
/// while, which a command that soon ends does not live to see.
///
/// # Errors
/// When its file can't be written.
pub async fn clean(log: &AnyLog) -> Result<(), LogError> {
    match log {
        AnyLog::Sqlite(log) => log.clean(Timestamp::now()).await.map(drop),
        AnyLog::Kafka(_) => Ok(()),
    }
}

/// The document store as configured.
///
/// # Errors
/// When it can't be used.
pub fn store(settings: &Settings) -> anyhow::Result<AnyStore> {
    match settings.store_url() {
        StoreUrl::Sqlite(path) => {
            make_parent(&path)?;
            Ok(SqliteStore::open(&path)?.into())
        }
        StoreUrl::Couch(url) => Ok(CouchStore::new(couch(settings, &url)?)?.into()),
    }
}

/// Creates missing topics and brings settings up to date, unless the configuration leaves that to
/// `bowerbird topics apply`.
///
/// # Errors
/// When the log can't be asked, or a topic differs in what can't be changed.
pub async fn apply_topics(log: &AnyLog, settings: &Settings) -> Result<(), LogError> {
    if settings.config().log.apply_topics {
        log.apply_topics(&topics(settings), false).await?;
    }
    Ok(())
}

/// How X's stream at `base_url` is followed.
///
/// # Errors
/// When the address is none.
pub fn x(settings: &Settings, base_url: &str, bearer: &Secret) -> anyhow::Result<XConfig> {
    let section = &settings.config().x;
    Ok(XConfig {
        tweet_fields: section.tweet_fields.clone(),
        expansions: section.expansions.clone(),
        user_fields: section.user_fields.clone(),
        place_fields: section.place_fields.clone(),
        backfill_minutes: section.backfill_minutes,
        idle_timeout: Duration::from_millis(section.idle_timeout_ms),
        max_item_bytes: section.max_item_bytes,
        limits: x_limits(settings),
        drain_timeout: settings.source_drain(),
        renewal: renewal(settings, Account::X),
        ..XConfig::new(base_url.parse()?, bearer.get())
    })
}

fn renewal(settings: &Settings, account: Account) -> Option<Renewal> {
    read_again(settings, account).map(Renewal::new)
}

/// Reads the file of a secret again, where it came from one.
fn read_again(
    settings: &Settings,
    account: Account,
) -> Option<impl Fn() -> Option<SecretString> + Send + Sync + use<>> {
    let path = account.file(&settings.loaded)?.to_owned();
    Some(move || match Secret::read(&path) {
        Ok(secret) => Some(secret.get()),
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "the file of a secret can't be read");
            None
        }
    })
}

/// What X's stream may bring, and what that costs.
pub fn x_limits(settings: &Settings) -> Limits {
    let section = &settings.config().x;
    Limits {
        monthly_cap_posts: section.monthly_cap_posts,
        warn_at_percent: section.warn_at_percent,
        price_per_post_usd: section.price_per_post_usd,
    }
}

/// The rules that the stream shall have.
pub fn rules(settings: &Settings) -> Vec<Rule> {
    let declared = settings.config().x.rules.iter();
    declared.map(|rule| Rule { value: rule.value.clone(), tag: rule.tag.clone() }).collect()
}

/// How the configured data sets are polled.
///
/// # Errors
/// When the address is none, or a schedule.
pub fn aurin(settings: &Settings) -> anyhow::Result<AurinConfig> {
    let section = &settings.config().aurin;
    let who = Account::Aurin.login(settings.config());
    let datasets = section.datasets.iter().map(|dataset| {
        Ok(DatasetConfig {
            type_name: dataset.type_name.clone(),
            id_property: dataset.id_property.clone(),
            licence: dataset.licence.clone(),
            attribution: dataset.attribution.clone(),
            schedule: schedule(dataset)?,
        })
    });
    let datasets: Vec<DatasetConfig> = datasets.collect::<anyhow::Result<_>>()?;
    Ok(AurinConfig {
        credentials: who.map(|(user, password)| (user.to_owned(), password.get())),
        page_size: section.page_size,
        timeout: Duration::from_millis(section.timeout_ms),
        max_feature_bytes: section.max_feature_bytes,
        drain_timeout: settings.source_drain(),
        renewal: renewal(settings, Account::Aurin),
        ..AurinConfig::new(section.base_url.base.parse()?, datasets)
    })
}

/// When a data set is polled.
fn schedule(dataset: &Dataset) -> anyhow::Result<Schedule> {
    if let Some(expression) = &dataset.schedule {
        return Schedule::cron(expression).map_err(|reason| {
            WrongUse(format!("aurin.datasets schedule of {}: {reason}", dataset.type_name)).into()
        });
    }
    let jitter_s = dataset.jitter_s.unwrap_or((dataset.interval_s / 10).min(MOST_JITTER_S));
    let interval = Duration::from_secs(dataset.interval_s);
    Ok(Schedule::Every { interval, jitter: Duration::from_secs(jitter_s) })
}

/// How archives are imported.
pub fn archive(settings: &Settings, inputs: Vec<Input>) -> ArchiveConfig {
    let section = &settings.config().archive;
    ArchiveConfig {
        workers: section.workers.unwrap_or_else(usual_workers),
        max_line_bytes: section.max_line_bytes,
        max_in_flight_bytes: section.max_in_flight_bytes,
        zstd_window_log_max: section.zstd_window_log_max,
        checkpoint_dir: Some(settings.data.join("imports")),
        drain_timeout: settings.source_drain(),
        ..ArchiveConfig::new(inputs)
    }
}

/// The views over `store`. Where the store is embedded, their indexes lie beside it.
///
/// # Errors
/// When they can't be used.
pub fn views(settings: &Settings, store: &AnyStore) -> anyhow::Result<AnyViews> {
    let section = &settings.config().mapreduce;
    let query_wait = Duration::from_millis(section.query_wait_ms);
    match (store, settings.store_url()) {
        (AnyStore::Sqlite(store), StoreUrl::Sqlite(path)) => {
            let config = QuickJsConfig {
                memory_limit_bytes: section.memory_limit_bytes,
                script_timeout: Duration::from_millis(section.script_timeout_ms),
                query_wait,
            };
            let path = path.with_extension("views.sqlite");
            Ok(QuickJsViews::open(store.clone(), path, config)?.into())
        }
        (AnyStore::Couch(_), StoreUrl::Couch(url)) => {
            let views = CouchViews::new(&couch(settings, &url)?)?;
            Ok(views.with_query_wait(query_wait).into())
        }
        _ => bail!("the store is not the configured one; this is a mistake in bowerbird"),
    }
}

/// The design documents: those of the configured folder, else those in the binary.
///
/// # Errors
/// When they can't be read.
pub fn designs(folder: Option<&Path>) -> Result<Vec<Design>, ViewError> {
    folder.map_or_else(design::embedded, design::read_dir)
}

/// The topics as declared.
pub fn topics(settings: &Settings) -> Vec<TopicSpec> {
    let log = &settings.config().log;
    topic::declared(log.partitions, log.replication, log.max_record_bytes)
}

/// How the sinks work.
pub fn sink(settings: &Settings) -> SinkConfig {
    let section = &settings.config().sink;
    SinkConfig {
        batch_documents: section.batch_documents,
        batch_bytes: section.batch_bytes,
        flush_interval: Duration::from_millis(section.flush_interval_ms),
        writers: section.writers,
        max_pending_bytes: section.max_pending_bytes,
        commit_interval: Duration::from_millis(section.commit_interval_ms),
        drain_timeout: settings.sink_drain(),
        create_databases: settings.config().store.create_databases,
        max_attempts: section.max_attempts,
        max_backoff: Duration::from_millis(section.max_backoff_ms),
        instance: section.instance.clone(),
        session_timeout: Duration::from_millis(section.session_timeout_ms),
        once: false,
    }
}

/// How removals are seen to.
pub fn keeping(settings: &Settings) -> Keeping {
    let look_every = Duration::from_millis(settings.config().sink.sweep_interval_ms);
    Keeping { look_every, ..Keeping::default() }
}

fn kafka(settings: &Settings, brokers: String) -> KafkaConfig {
    let section = &settings.config().log;
    let mechanism = match section.sasl_mechanism {
        SaslMechanism::Plain => Mechanism::Plain,
        SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
        SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
    };
    let login = Account::Log.login(settings.config()).map(|(user, password)| Login {
        user: user.to_owned(),
        password: password.get(),
        mechanism,
    });
    KafkaConfig {
        login,
        tls: section.tls,
        tls_ca: section.tls_ca.clone(),
        max_record_bytes: usize::try_from(section.max_record_bytes).unwrap_or(usize::MAX),
        ..KafkaConfig::new(brokers)
    }
}

fn couch(settings: &Settings, url: &HttpUrl) -> anyhow::Result<CouchConfig> {
    let section = &settings.config().store;
    let mut config = CouchConfig::new(&url.base)?;
    if let Some((user, password)) = Account::Store.login(settings.config()) {
        config = config.with_credentials(user, password.get());
    }
    config.renewal = read_again(settings, Account::Store).map(couch::Renewal::new);
    config.request_timeout = Duration::from_millis(section.timeout_ms);
    config.connect_timeout = Duration::from_millis(section.connect_timeout_ms);
    Ok(config)
}

fn make_parent(path: &Path) -> anyhow::Result<()> {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), folder::make)
}

#[cfg(test)]
mod tests {
    use bowerbird_infra::config;

    use super::*;
    use crate::args::Format;

    /// What the libraries find sound is what the configuration says without being asked.
    #[test]
    fn the_defaults_are_those_of_the_libraries() {
        let loaded = config::load(None, []).unwrap();
        let settings = Settings { loaded, file: None, data: "data".into(), output: Format::Text };

        let (ours, theirs) = (sink(&settings), SinkConfig::default());
        let drain_timeout = ours.drain_timeout;
        let theirs = SinkConfig { drain_timeout, ..theirs };
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));

        assert_eq!(keeping(&settings), Keeping::default());

        let address = &settings.config().x.base_url.base;
        let token = Secret::new("token");
        let ours = x(&settings, address, &token).unwrap();
        let drain_timeout = ours.drain_timeout;
        let theirs = XConfig::new(address.parse().unwrap(), token.get());
        let theirs = XConfig { drain_timeout, ..theirs };
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));

        let ours = aurin(&settings).unwrap();
        let theirs = AurinConfig::new(ours.base_url.clone(), Vec::new());
        let theirs = AurinConfig { drain_timeout, ..theirs };
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));

        let ours = archive(&settings, Vec::new());
        let checkpoint_dir = ours.checkpoint_dir.clone();
        let theirs =
            ArchiveConfig { drain_timeout, checkpoint_dir, ..ArchiveConfig::new(Vec::new()) };
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));

        let url = StoreUrl::try_from("http://couchdb:5984".to_owned()).unwrap();
        let StoreUrl::Couch(url) = url else { panic!("{url}") };
        let (ours, theirs) =
            (couch(&settings, &url).unwrap(), CouchConfig::new(&url.base).unwrap());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));

        let ours = kafka(&settings, "one:9092".to_owned());
        assert_eq!(format!("{ours:?}"), format!("{:?}", KafkaConfig::new("one:9092")));
    }
}
