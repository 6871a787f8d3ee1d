//! The live status on stderr: one line that changes on a terminal, a log line now and then
//! elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::time::Duration;

use bowerbird_sink::Generations;
use bowerbird_store::AnyStore;
use bowerbird_stream::lag::LagReport;
use bowerbird_stream::status::{State, Status};
use bowerbird_stream::topic;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::sources::Source;
use crate::progress;
use crate::settings::Settings;

/// How often the line on a terminal changes.
const ON_TERMINAL: Duration = Duration::from_secs(1);
/// How often a line is logged elsewhere.
const IN_LOGS: Duration = Duration::from_secs(5);

/// What is told while everything runs.
#[derive(Debug)]
pub struct Live {
    sources: Vec<Source>,
    dashboard: String,
    admin: SocketAddr,
    log: String,
    store: String,
    data: String,
}

/// The figures of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
struct Figures {
    posts_in: f64,
    posts_out: f64,
    lag: u64,
    seconds_behind: f64,
    posts: Option<u64>,
    features: Option<u64>,
    /// What roles find worth knowing, such as the posts that X has delivered and bills.
    notes: Vec<String>,
    troubles: Vec<String>,
}

impl Live {
    /// What runs where.
    pub fn new(
        sources: Vec<Source>,
        dashboard: String,
        admin: SocketAddr,
        settings: &Settings,
    ) -> Self {
        Self {
            sources,
            dashboard,
            admin,
            log: settings.log_url().to_string(),
            store: settings.store_url().to_string(),
            data: settings.data.display().to_string(),
        }
    }

    /// Tells until `cancel`.
    pub async fn run(
        self,
        generations: Generations<AnyStore>,
        lag: watch::Receiver<LagReport>,
        roles: Vec<Status>,
        cancel: CancellationToken,
    ) {
        self.introduce();
        let on_terminal = io::stderr().is_terminal();
        let mut ticks = tokio::time::interval(if on_terminal { ON_TERMINAL } else { IN_LOGS });
        // The first tick is at once, and there is nothing to tell yet.
        ticks.tick().await;
        let line = progress::line();
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            let documents = async |projection: &str| generations.documents(projection).await.ok();
            let counts = async { (documents("posts").await, documents("features").await) };
            let Some((posts, features)) = cancel.run_until_cancelled(counts).await else { break };
            let figures = Figures { posts, features, ..figures(&lag.borrow(), &roles) };
            if on_terminal {
                line.set_message(format!("{} · {}", told(&figures), self.dashboard));
                line.tick();
            } else {
                tracing::info!(dashboard = self.dashboard, "{}", told(&figures));
            }
        }
        line.finish_and_clear();
    }

    fn introduce(&self) {
        for source in &self.sources {
            tracing::info!("{source}");
        }
        tracing::info!(
            log = self.log,
            store = self.store,
            folder = self.data,
            "the data lies here"
        );
        tracing::info!(url = self.dashboard, admin = %self.admin, "dashboard");
    }
}

fn figures(report: &LagReport, roles: &[Status]) -> Figures {
    let posts = report.topics.iter().find(|found| found.topic == topic::POSTS);
    let read = report.groups.iter().flat_map(|group| &group.topics);
    let out = read.filter(|read| read.topic == topic::POSTS).filter_map(|read| read.total.out_rate);
    // What is wrong with the log or the store is wrong for several roles: told once.
    let mut paused: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for role in roles {
        if let State::Paused { reason } = role.get() {
            paused.entry(reason).or_default().push(role.role);
        }
    }
    let paused =
        paused.into_iter().map(|(reason, roles)| format!("paused: {}: {reason}", roles.join(", ")));
    Figures {
        posts_in: posts.and_then(|posts| posts.in_rate).unwrap_or(0.0),
        // Not sum(): that of nothing is -0.0.
        posts_out: out.fold(0.0, |sum, rate| sum + rate),
        lag: report.total.lag,
        seconds_behind: report.total.seconds_behind,
        notes: roles.iter().filter_map(Status::note).collect(),
        troubles: paused.chain(report.errors.iter().cloned()).collect(),
        ..Figures::default()
    }
}

fn told(figures: &Figures) -> String {
    let Figures { posts_in, posts_out, lag, seconds_behind, posts, features, notes, troubles } =
        figures;
    let count = |count: &Option<u64>| count.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let mut text = format!(
        "posts/s in {posts_in:.1} out {posts_out:.1} · lag {lag} ({seconds_behind:.1} s) · \
         documents: {} posts, {} features",
        count(posts),
        count(features),
    );
    for more in notes.iter().chain(troubles) {
        text.push_str(" · ");
        text.push_str(more);
    }
    text
}

#[cfg(test)]
mod tests {
    use bowerbird_stream::status::status;

    use super::*;

    #[test]
    fn the_line_tells_rates_lag_documents_and_what_is_wrong() {
        let (posts, posts_status) = status("posts");
        let (features, features_status) = status("features");
        for sink in [posts, features] {
            sink.set(State::Paused { reason: "the store refuses the password".to_owned() });
        }
        let (stream, stream_status) = status("ingest-x");
        stream.note("posts delivered: 7 today".to_owned());
        let roles = [posts_status, features_status, stream_status];
        let report = LagReport { errors: vec!["no answer".to_owned()], ..LagReport::default() };
        let figures = Figures { posts: Some(7), ..figures(&report, &roles) };
        assert_eq!(
            told(&figures),
            "posts/s in 0.0 out 0.0 · lag 0 (0.0 s) · documents: 7 posts, ? features · \
             posts delivered: 7 today · paused: posts, features: the store refuses the password · no answer"
        );
    }
}
