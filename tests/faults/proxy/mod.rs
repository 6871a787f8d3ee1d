//! A proxy between the pipeline and its store, which does to requests what networks, gateways and
//! tired servers do.

mod again;
mod http;
mod mood;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowerbird_testbed::random::Random;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use again::Again;
use http::Message;
pub use mood::Mood;

/// What the proxy lets a request hold, as a gateway's `client_max_body_size` does, in bytes. It
/// is in force all the time: a document that is larger can never be written.
pub const MAX_BODY: usize = 256 << 10;
/// Longer than the pipeline waits for an answer.
const SILENCE: Duration = Duration::from_secs(5);
/// A store that is paused answers when it goes on.
const PATIENCE: Duration = Duration::from_secs(30);

/// A proxy that listens.
pub struct Proxy {
    pub address: SocketAddr,
    mood: watch::Sender<Mood>,
    struck: Arc<Mutex<BTreeMap<String, u64>>>,
    again: Arc<Mutex<Again>>,
    tasks: JoinSet<()>,
}

/// What a connection knows.
#[derive(Clone)]
struct Way {
    store: SocketAddr,
    mood: watch::Receiver<Mood>,
    random: Arc<Mutex<Random>>,
    struck: Arc<Mutex<BTreeMap<String, u64>>>,
    again: Arc<Mutex<Again>>,
}

impl Proxy {
    /// A proxy to `store`, calm for now.
    pub async fn start(store: SocketAddr, random: Random) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mood, moods) = watch::channel(Mood::Calm);
        let struck = Arc::default();
        let again = Arc::default();
        let random = Arc::new(Mutex::new(random));
        let way = Way {
            store,
            mood: moods,
            random,
            struck: Arc::clone(&struck),
            again: Arc::clone(&again),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, way));
        Self { address, mood, struck, again, tasks }
    }

    /// From now on.
    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// How many requests each mood has struck so far.
    pub fn struck(&self) -> BTreeMap<String, u64> {
        self.struck.lock().unwrap().clone()
    }

    /// How many documents the store has taken, and how many of them it had already.
    pub fn written(&self) -> (u64, u64) {
        let again = self.again.lock().unwrap();
        (again.written, again.again)
    }

    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Listens, except while connections are refused.
async fn listen(listener: TcpListener, way: Way) {
    let address = listener.local_addr().unwrap();
    let mut moods = way.mood.clone();
    let mut connections = JoinSet::new();
    let mut listener = Some(listener);
    loop {
        let mood = *moods.borrow_and_update();
        if mood == Mood::Refuse {
            listener = None;
            connections.shutdown().await;
            way.strike(mood);
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        tokio::select! {
            changed = moods.changed() => if changed.is_err() { return },
            Some(accepted) = accept(listener.as_ref()) => {
                if let Ok(stream) = accepted {
                    let way = way.clone();
                    connections.spawn(async move {
                        // A client or store that hangs up is nothing to tell.
                        let _ = serve(stream, way).await;
                    });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<io::Result<TcpStream>> {
    match listener {
        Some(listener) => Some(listener.accept().await.map(|(stream, _)| stream)),
        None => None,
    }
}

async fn serve(mut stream: TcpStream, way: Way) -> io::Result<()> {
    while let Some(request) = http::request(&mut stream).await? {
        if request.body.len() > MAX_BODY {
            let answer = Message::answer("413 Payload Too Large", "", "<html>too large</html>");
            stream.write_all(&answer.bytes()).await?;
            continue;
        }
        let mood = way.struck_by();
        let Some(answer) = way.answer(mood, &request, &mut stream).await? else {
            return Ok(());
        };
        match mood {
            Mood::Trickle => trickle(&mut stream, &answer.bytes()).await?,
            _ => stream.write_all(&answer.bytes()).await?,
        }
        if answer.header("Connection") == Some("close") {
            return stream.shutdown().await;
        }
    }
    Ok(())
}

impl Way {
    /// What happens to the next request.
    fn struck_by(&self) -> Mood {
        let mood = *self.mood.borrow();
        let strikes = self.random.lock().unwrap().percent(mood.strikes());
        if !strikes {
            return Mood::Calm;
        }
        self.strike(mood);
        mood
    }

    fn strike(&self, mood: Mood) {
        *self.struck.lock().unwrap().entry(format!("{mood:?}")).or_default() += 1;
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap().below(bound)
    }

    async fn ask(&self, request: &Message) -> io::Result<Message> {
        // What came of each document is read here too.
        let request = match request.head.contains("/_bulk_docs") {
            true => &request.clone().with_header("Accept-Encoding", None),
            false => request,
        };
        let answer = tokio::time::timeout(PATIENCE, http::ask(self.store, request)).await??;
        self.again.lock().unwrap().look(request, &answer);
        Ok(answer)
    }

    /// What the client gets; nothing when that is the end of its connection.
    async fn answer(
        &self,
        mood: Mood,
        request: &Message,
        stream: &mut TcpStream,
    ) -> io::Result<Option<Message>> {
        let page = |status| Message::answer(status, "", "<html>gateway</html>");
        let error = |status, error, reason: &str| {
            let body = json!({"error": error, "reason": reason}).to_string();
            Message::answer(status, "", &body)
        };
        Ok(Some(match mood {
            Mood::Calm | Mood::Trickle => self.ask(request).await?,
            Mood::Refuse => return Ok(None),
            Mood::ResetRequest => return reset(stream),
            Mood::ResetAnswer => {
                let answer = self.ask(request).await?.bytes();
                let part = self.below(answer.len() as u64);
                stream.write_all(&answer[..usize::try_from(part).unwrap()]).await?;
                // It is to arrive before the reset discards it.
                tokio::time::sleep(Duration::from_millis(5)).await;
                return reset(stream);
            }
            Mood::LoseAnswer => {
                self.ask(request).await?;
                return Ok(None);
            }
            Mood::Silence => {
                self.ask(request).await?;
                tokio::time::sleep(SILENCE).await;
                return Ok(None);
            }
            Mood::Delay => {
                tokio::time::sleep(Duration::from_millis(self.below(1_500))).await;
                self.ask(request).await?
            }
            Mood::Fail => error("500 Internal Server Error", "unknown_error", "badmatch"),
            Mood::FailAfter => {
                self.ask(request).await?;
                error("500 Internal Server Error", "unknown_error", "badmatch")
            }
            Mood::Busy => match self.below(2) {
                0 => Message::answer("429 Too Many Requests", "Retry-After: 1", ""),
                _ => Message::answer("503 Service Unavailable", "Retry-After: 0", ""),
            },
            Mood::Gateway => match self.below(3) {
                0 => page("400 Bad Request"),
                1 => page("404 Not Found"),
                _ => page("502 Bad Gateway"),
            },
            Mood::Twice => {
                let first = self.ask(request).await?;
                let second = self.ask(request).await?;
                if self.below(2) == 0 { first } else { second }
            }
            Mood::Rows => {
                let answer = self.ask(request).await?;
                match request.head.contains("/_bulk_docs") {
                    true => self.with_failed_rows(answer),
                    false => answer,
                }
            }
            Mood::Unauthorised => error("401 Unauthorized", "unauthorized", "You are not"),
            Mood::Full => match self.below(2) {
                0 => error("507 Insufficient Storage", "insufficient_storage", "no space"),
                _ => error("500 Internal Server Error", "error", "{badmatch,{error,enospc}}"),
            },
        }))
    }

    /// A bulk answer of which some rows tell a failure that never was.
    fn with_failed_rows(&self, answer: Message) -> Message {
        let Ok(Value::Array(mut rows)) = serde_json::from_slice(&answer.body) else {
            return answer;
        };
        for row in &mut rows {
            if self.below(10) == 0 {
                let reason = "a replica did not answer";
                *row = json!({"id": row["id"], "error": "internal_server_error", "reason": reason});
            }
        }
        answer.with_body(Value::Array(rows).to_string().into_bytes())
    }
}

/// Ends a connection so that the other side reads an error, not an end.
fn reset<T>(stream: &TcpStream) -> io::Result<Option<T>> {
    stream.set_zero_linger()?;
    Ok(None)
}

async fn trickle(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let drop = (bytes.len() / 10).max(1);
    for part in bytes.chunks(drop) {
        stream.write_all(part).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
