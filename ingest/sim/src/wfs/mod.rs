//! A sample WFS 2.0: data sets of the names and columns that AURIN's have, made from a seed.
//!
//! It answers as GeoServer does: JSON pages by `count` and `startIndex`, hits as XML, exceptions
//! as `ows:ExceptionReport`, no second page without `sortBy`. A list of [`Fault`]s makes it
//! misbehave in the ways that servers in the wild do.

mod config;
mod dataset;
mod feature;
mod request;
mod xml;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::stream::{self, Stream, StreamExt};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

pub use config::{Config, Fault, Hits};
pub use dataset::{SampleDataset, sample_datasets};

use dataset::Dataset;
use request::{Exception, Request};

use crate::server::{self, Running, SimError};

const JSON: &str = "application/json;charset=UTF-8";

/// What all requests share.
struct Sim {
    config: Config,
    datasets: Vec<Dataset>,
    faults: Mutex<VecDeque<Fault>>,
    served: Arc<AtomicU64>,
    /// How often it was asked how many features there are.
    counted: AtomicUsize,
    /// How many ids it has made up.
    made_up: AtomicUsize,
}

/// Starts the sample WFS; it answers at `/wfs`.
///
/// # Errors
/// When it can't listen.
pub async fn serve(config: Config) -> Result<Running, SimError> {
    let listen = config.listen;
    let served = Arc::new(AtomicU64::new(0));
    let sim = Sim {
        datasets: dataset::make(config.seed, config.features),
        faults: Mutex::new(config.faults.iter().copied().collect()),
        served: Arc::clone(&served),
        counted: AtomicUsize::new(0),
        made_up: AtomicUsize::new(0),
        config,
    };
    let router = Router::new().route("/wfs", get(answer)).with_state(Arc::new(sim));
    server::serve(listen, router, served, CancellationToken::new()).await
}

async fn answer(
    State(sim): State<Arc<Sim>>,
    headers: HeaderMap,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Response {
    if !sim.authorised(&headers) {
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"sample WFS\"")];
        return (StatusCode::UNAUTHORIZED, challenge, "who are you?").into_response();
    }
    let request = match Request::read(pairs) {
        Ok(request) => request,
        Err(exception) => return exception.into_response(),
    };
    match request {
        Request::Capabilities => xml::response(xml::capabilities(&sim.datasets)),
        Request::Describe { type_name } => match sim.dataset(&type_name) {
            Ok(dataset) => xml::response(xml::description(dataset)),
            Err(exception) => exception.into_response(),
        },
        Request::Hits { type_name } => match sim.dataset(&type_name) {
            Ok(dataset) => {
                let growth = sim.counted.fetch_add(1, Ordering::Relaxed);
                let number = sim.matched(dataset.features.len(), growth);
                xml::response(xml::hits(number.as_str().unwrap_or(&number.to_string())))
            }
            Err(exception) => exception.into_response(),
        },
        Request::Features { type_name, page } => match sim.page(&type_name, &page) {
            Ok(response) => response,
            Err(exception) => exception.into_response(),
        },
    }
}

impl Sim {
    fn authorised(&self, headers: &HeaderMap) -> bool {
        let Some((user, password)) = &self.config.credentials else { return true };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Basic "));
        let expected = BASE64.encode(format!("{user}:{}", password.expose_secret()));
        given.is_some_and(|given| given == expected)
    }

    fn dataset(&self, type_name: &str) -> Result<&Dataset, Exception> {
        let found = self.datasets.iter().find(|dataset| dataset.type_name == type_name);
        found.ok_or_else(|| {
            let text = format!("Feature type {type_name} unknown");
            Exception::new("InvalidParameterValue", "typeNames", text)
        })
    }

    /// What it says of how many features there are.
    fn matched(&self, there: usize, growth: usize) -> Value {
        match self.config.hits {
            Hits::Right => json!(there),
            Hits::Unknown => json!("unknown"),
            Hits::Capped(most) => json!(there.min(most)),
            Hits::Growing => json!(there + growth),
        }
    }

    fn page(&self, type_name: &str, page: &request::Page) -> Result<Response, Exception> {
        let dataset = self.dataset(type_name)?;
        let fault = {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            faults.pop_front().unwrap_or(Fault::None)
        };
        let capped = page.count.min(self.config.max_count.unwrap_or(usize::MAX));
        if page.sort_by.is_some() && !self.config.sorts {
            let text = "this layer does not support sorting";
            return Err(Exception::new("OperationProcessingFailed", "sortBy", text));
        }
        let features = dataset.sorted(page.sort_by.as_deref())?;
        let from = if self.config.pages { page.start_index } else { 0 };
        let moved = self.config.moves && self.served.load(Ordering::Relaxed) > 0;
        let newcomer = features.last().filter(|_| moved);
        let newcomer = newcomer.map(|last| renamed(last, &dataset.type_name));
        let features = features.into_iter().skip(usize::from(moved)).chain(newcomer.as_ref());
        let mut given: Vec<Value> = features.skip(from).take(capped).cloned().collect();
        if fault == Fault::Empty || self.config.ends_at.is_some_and(|end| from >= end) {
            given.clear();
        }
        let on_page = |place: usize| place.checked_sub(from);
        if let Some((place, bytes)) = self.config.large
            && let Some(feature) = on_page(place).and_then(|at| given.get_mut(at))
        {
            feature["properties"]["note"] = json!("x".repeat(bytes));
        }
        if let Some(at) = self.config.astray.and_then(on_page)
            && let Some(feature) = given.get_mut(at)
        {
            feature["geometry"] = json!({"type": "Point", "coordinates": [9e6, -4e6]});
        }
        let keyed = dataset.features.len() - self.config.keyless.min(dataset.features.len());
        for feature in given.iter_mut().skip(keyed.saturating_sub(from)) {
            let fid = self.made_up.fetch_add(1, Ordering::Relaxed);
            feature["id"] = json!(format!("{}.fid-{fid:x}", dataset.local_name()));
            feature["properties"][dataset.id_property] = Value::Null;
        }
        if self.config.latitude_first && page.srs.as_deref() == Some("EPSG:4326") {
            given.iter_mut().for_each(|feature| swap_axes(&mut feature["geometry"]["coordinates"]));
        }
        for feature in given.iter_mut().take(self.config.placeless.saturating_sub(from)) {
            feature["geometry"] = Value::Null;
        }
        let matched = self.matched(dataset.features.len(), 0);
        let body = json!({
            "type": "FeatureCollection",
            "features": given,
            "totalFeatures": matched,
            "numberMatched": matched,
            "numberReturned": given.len(),
            "timeStamp": Timestamp::now().to_string(),
            "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4326"}},
        })
        .to_string();
        Ok(match fault {
            Fault::None | Fault::Empty => {
                self.served.fetch_add(given.len() as u64, Ordering::Relaxed);
                json_response(body)
            }
            Fault::ExceptionUnder200 => xml::response(
                Exception::new("NoApplicableCode", "", "Connection to the database failed").xml(),
            ),
            Fault::ExceptionInBody => {
                let half = cut(&body);
                let exception = Exception::new("NoApplicableCode", "", "Connection lost").xml();
                json_response(format!("{half}{exception}"))
            }
            Fault::Truncated => json_response(cut(&body).to_owned()),
            Fault::HtmlPage => {
                let page = "<!DOCTYPE html><html><body>Down for maintenance</body></html>";
                ([(header::CONTENT_TYPE, "text/html")], page).into_response()
            }
            Fault::Unavailable => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            Fault::Stalls => {
                let half = cut(&body).to_owned();
                pieces(stream::iter([half]).chain(stream::pending()))
            }
            Fault::Trickles(count, pause) => {
                self.served.fetch_add(given.len() as u64, Ordering::Relaxed);
                let size = body.len().div_ceil(count.max(1) as usize).max(1);
                let parts: Vec<Vec<u8>> =
                    body.as_bytes().chunks(size).map(<[u8]>::to_vec).collect();
                pieces(stream::iter(parts).then(move |part| async move {
                    tokio::time::sleep(pause).await;
                    part
                }))
            }
        })
    }
}

/// A feature after all others: the last one with a greater code.
fn renamed(last: &Value, type_name: &str) -> Value {
    let mut other = last.clone();
    let sample = sample_datasets().into_iter().find(|sample| sample.type_name == type_name);
    if let Some(code) = sample.and_then(|sample| other["properties"].get_mut(sample.id_property)) {
        *code = json!("999999999");
    }
    other
}

/// Latitude for longitude, in positions however deep.
fn swap_axes(coordinates: &mut Value) {
    let Value::Array(parts) = coordinates else { return };
    match parts.first() {
        Some(Value::Number(_)) if parts.len() > 1 => parts.swap(0, 1),
        _ => parts.iter_mut().for_each(swap_axes),
    }
}

/// An answer that comes piece by piece.
fn pieces<T: Into<Bytes>>(pieces: impl Stream<Item = T> + Send + 'static) -> Response {
    let pieces = pieces.map(|piece| Ok::<Bytes, Infallible>(piece.into()));
    ([(header::CONTENT_TYPE, JSON)], Body::from_stream(pieces)).into_response()
}

fn json_response(body: String) -> Response {
    ([(header::CONTENT_TYPE, JSON)], body).into_response()
}

/// The first half, cut between two characters.
fn cut(body: &str) -> &str {
    let mut half = body.len() / 2;
    while !body.is_char_boundary(half) {
        half -= 1;
    }
    &body[..half]
}
