//! `bowerbird replay`

use std::num::NonZeroU32;

use bowerbird_sink::replay::{
    Asked, Counted, Filter, Into, Parts, Predicate, Ran, ReplayConfig, Work, count, plan, replay,
};
use bowerbird_store::DocumentStore as _;
use bowerbird_stream::status::status;
use bowerbird_stream::topic::TopicSpec;
use bowerbird_stream::{AnyLog, EventLog as _, LogError};
use clap::Args;
use serde::Serialize;

use crate::failure::Outcome;
use crate::generations;
use crate::output;
use crate::parts;
use crate::progress;
use crate::settings::Settings;
use crate::shutdown::Shutdown;

/// What `replay` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Which topic
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Where to begin: a time, "2h ago", or PARTITION@OFFSET,… [default: the earliest]
    #[arg(long, value_name = "WHERE")]
    from: Option<String>,
    /// Where to end, before which it stops, written likewise [default: the log's end now]
    #[arg(long, value_name = "WHERE")]
    to: Option<String>,
    /// The events of an import or a poll, by the id or the source of its event in the journal
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "to"])]
    of: Option<String>,
    /// Only events of this key; several may be given
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
    /// Only events of this type, such as post.received; several may be given
    #[arg(long = "type", value_name = "TYPE")]
    kind: Vec<String>,
    /// Only events with this header; of several all must be there
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// Only payloads with this at a JSON pointer: /a/b=VALUE, /a/b!=VALUE or /a/b; of several all
    /// must hold
    #[arg(long = "where", value_name = "PREDICATE", value_parser = Predicate::parse)]
    predicate: Vec<Predicate>,
    /// At most so many events a second
    #[arg(long, value_name = "EVENTS")]
    rate: Option<NonZeroU32>,
    /// Where to: live, database:NAME or topic:NAME; what is not there is made
    #[arg(long, value_name = "TARGET", default_value = "live", value_parser = target)]
    into: Into,
    /// Only count what would be replayed, and what the log no longer holds
    #[arg(long)]
    dry_run: bool,
    /// Begin anew instead of going on with an interrupted run of the same command
    #[arg(long)]
    anew: bool,
}

/// What a dry run found.
#[derive(Debug, Serialize)]
struct Planned {
    place: serde_json::Value,
    partitions: Vec<Counted>,
}

/// Replays.
pub async fn run(
    arguments: Arguments,
    settings: &Settings,
    shutdown: &Shutdown,
) -> anyhow::Result<Outcome> {
    let (dry_run, rate, anew) = (arguments.dry_run, arguments.rate, arguments.anew);
    let asked = asked(arguments);
    let (log, store) = (parts::log(settings).await?, parts::store(settings)?);
    // A wrong password is found out once, before anything is begun.
    store.ping().await?;
    let generations = generations::of(settings, &store);
    if dry_run {
        let counting = async {
            let work = plan(&log, &generations, &asked, jiff::Timestamp::now()).await?;
            let bar = progress::counter("records read");
            let counted = count(&log, &work, |read| bar.set_position(read)).await;
            bar.finish_and_clear();
            Ok((work, counted?))
        };
        let (work, counted) = shutdown.unless(counting).await?;
        print_plan(&work, counted, settings)?;
        return Ok(Outcome::Done);
    }
    // The journal is told of it, so it must be there.
    parts::apply_topics(&log, settings).await?;
    if let Into::Topic(target) = &asked.into {
        make_target(&log, &asked.topic, target, settings).await?;
    }
    tracing::debug!(log = log.address(), "replaying");
    let config = ReplayConfig { asked, rate, anew, sink: parts::sink(settings) };
    let (reporter, _status) = status("replay");
    let cancel = shutdown.token();
    let with = Parts { log: &log, generations: &generations, reporter: &reporter, cancel: &cancel };
    let bar = progress::portion("offsets replayed");
    let worker = generations::worker();
    let replaying = replay(&with, &config, &worker, |(done, total), _| {
        progress::show(&bar, done, total);
    });
    let ran = Box::pin(replaying).await;
    bar.finish_and_clear();
    let ran = ran?;
    output::one(settings.output, "replay", &ran, || told(&ran))?;
    Ok(Outcome::Done)
}

/// Makes the topic to replay into, like the one that is replayed, where it is not there.
async fn make_target(
    log: &AnyLog,
    topic: &str,
    target: &str,
    settings: &Settings,
) -> Result<(), LogError> {
    let missing = matches!(log.extents(target).await, Err(LogError::MissingTopic { .. }));
    if !missing || !settings.config().log.apply_topics {
        return Ok(());
    }
    let specs = parts::topics(settings);
    // A topic that was made for a replay was made like one of these, too.
    let Some(like) = specs.iter().find(|spec| spec.name == topic).or(specs.first()) else {
        return Ok(());
    };
    let partitions = u32::try_from(log.extents(topic).await?.len()).unwrap_or(like.partitions);
    let made = TopicSpec { name: target.to_owned(), partitions, ..like.clone() };
    log.apply_topics(&[made], false).await?;
    tracing::info!(topic = target, partitions, "topic made");
    Ok(())
}

fn asked(arguments: Arguments) -> Asked {
    let filter = Filter {
        keys: arguments.key,
        types: arguments.kind,
        headers: arguments.header,
        predicates: arguments.predicate,
    };
    let Arguments { topic, from, to, of, into, .. } =
        Arguments { key: vec![], kind: vec![], header: vec![], predicate: vec![], ..arguments };
    Asked { topic, from, to, of, filter, into }
}

fn print_plan(work: &Work, partitions: Vec<Counted>, settings: &Settings) -> anyhow::Result<()> {
    let header = ["topic", "partition", "from", "to", "cut", "records", "matching"];
    let cells = |row: &Counted| {
        let numbers = [row.from, row.to, row.cut].map(|number| number.to_string());
        let counts = [row.records, row.matching].map(|number| number.to_string());
        let names = [row.topic.clone(), row.partition.to_string()];
        names.into_iter().chain(numbers).chain(counts).collect::<Vec<_>>()
    };
    if settings.output == crate::args::Format::Json {
        let place = serde_json::to_value(&work.place)?;
        return output::json(&Planned { place, partitions });
    }
    output::rows(settings.output, &partitions, &header, cells)
}

fn told(ran: &Ran) -> String {
    let Work { counts, started, finished, .. } = &ran.work;
    let seconds = finished.unwrap_or(*started).duration_since(*started).as_secs_f64();
    let resumed = if ran.resumed { ", after it was interrupted" } else { "" };
    format!(
        "{} records read, {} replayed: {} documents written, {} were as they should be, {} \
         published, {} dead letters; in {seconds:.1} s{resumed}\n",
        counts.read,
        counts.replayed,
        counts.written,
        counts.unchanged,
        counts.published,
        counts.dead_letters,
    )
}

fn header(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = parts.ok_or("write it as NAME=VALUE, such as ce_source=x:stream")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn target(text: &str) -> Result<Into, String> {
    match text.split_once(':') {
        None if text == "live" => Ok(Into::Live),
        Some(("database", name)) if !name.is_empty() => Ok(Into::Database(name.to_owned())),
        Some(("topic", name)) if !name.is_empty() => Ok(Into::Topic(name.to_owned())),
        _ => Err("write live, database:NAME or topic:NAME".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_headers_are_read() {
        for (text, expected) in [
            ("live", Some(Into::Live)),
            ("database:other", Some(Into::Database("other".to_owned()))),
            ("topic:a:b", Some(Into::Topic("a:b".to_owned()))),
            ("topic:", None),
            ("posts", None),
        ] {
            assert_eq!(target(text).ok(), expected, "{text}");
        }
        assert_eq!(header("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(header("=b").is_err() && header("a").is_err());
    }
}
