//! The page's live updates: server-sent events (HTML standard, section 9.2).

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bowerbird_stream::lag::LagReport;
use futures::{Stream, StreamExt as _, stream};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Feed;
use crate::admin::{Readiness, RoleState};

/// Beside the lag: which log it is of, and where the roles of this process stand.
#[derive(Serialize)]
struct Scene<'a> {
    log: &'a str,
    roles: Vec<RoleState>,
}

/// One open page.
struct Open {
    reports: watch::Receiver<LagReport>,
    feed: Arc<Feed>,
    _place: OwnedSemaphorePermit,
}

/// Answers with the last report at once, and with each later one as it comes: the events `scene`
/// and `lag`.
pub(super) async fn stream(Shared(feed): Shared<Arc<Feed>>) -> Response {
    let Ok(place) = feed.streams.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open; close some")
            .into_response();
    };
    let mut reports = feed.reports.clone();
    reports.mark_changed();
    let cancelled = feed.cancel.clone().cancelled_owned();
    let events = updates(Open { reports, feed, _place: place }).take_until(cancelled);
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

fn updates(open: Open) -> impl Stream<Item = Result<Event, Infallible>> {
    let batches = stream::unfold(open, async |mut open| {
        open.reports.changed().await.ok()?;
        let report = open.reports.borrow_and_update().clone();
        Some((stream::iter(events(&report, &open.feed)), open))
    });
    batches.flatten().map(Ok)
}

fn events(report: &LagReport, feed: &Feed) -> Vec<Event> {
    let scene = Scene { log: &feed.log, roles: Readiness::of(&feed.roles).roles };
    let scene = Event::default().event("scene").json_data(scene);
    let lag = Event::default().event("lag").json_data(report);
    [scene, lag].into_iter().flatten().collect()
}
