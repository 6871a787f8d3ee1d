//! What the simulator knows that it did: what a client's journal can be compared with.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Sim, lock};

/// The most connections of which is known.
const MOST: usize = 10_000;

/// A connection that was made, as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When it began.
    pub from: Timestamp,
    /// When it ended; nothing while it lasts.
    pub to: Option<Timestamp>,
    /// Posts that were sent on it.
    pub posts: u64,
}

/// The connections: those that are open, and what is known of all.
#[derive(Debug, Default)]
pub struct Connections {
    open: BTreeMap<usize, Open>,
    all: Vec<Heard>,
    next: usize,
}

#[derive(Debug)]
struct Open {
    /// Ends it from elsewhere.
    kill: CancellationToken,
    /// It is gone, and the server has not noticed until then.
    until: Option<Instant>,
}

impl Connections {
    /// How many the server takes for open.
    pub fn open(&mut self, now: Instant) -> usize {
        self.open.retain(|_, open| open.until.is_none_or(|until| until > now));
        self.open.len()
    }

    /// Ends all of them; how many.
    pub fn kill(&mut self) -> usize {
        let open = std::mem::take(&mut self.open);
        open.values().for_each(|open| open.kill.cancel());
        open.len()
    }

    /// What is known of all, in their order.
    pub fn all(&self) -> &[Heard] {
        &self.all
    }
}

/// A place among the connections; it is given back when it is dropped.
pub struct Seat {
    sim: Arc<Sim>,
    number: usize,
    /// The connection is to end.
    pub kill: CancellationToken,
    /// The server will not notice at once that it has gone.
    pub lingers: bool,
}

impl Seat {
    /// Takes one.
    pub fn take(sim: &Arc<Sim>) -> Self {
        let (kill, from) = (CancellationToken::new(), sim.now());
        let mut connections = lock(&sim.connections);
        let number = connections.next;
        connections.next += 1;
        connections.open.insert(number, Open { kill: kill.clone(), until: None });
        if connections.all.len() < MOST {
            connections.all.push(Heard { from, to: None, posts: 0 });
        }
        drop(connections);
        Self { sim: Arc::clone(sim), number, kill, lingers: false }
    }

    /// So many posts were sent.
    pub fn sent(&self, posts: u64) {
        if let Some(heard) = lock(&self.sim.connections).all.get_mut(self.number) {
            heard.posts += posts;
        }
    }

    /// It is over, though whoever reads may not have noticed.
    pub fn over(&self) {
        let now = self.sim.now();
        if let Some(heard) = lock(&self.sim.connections).all.get_mut(self.number) {
            heard.to.get_or_insert(now);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.over();
        let linger = self.sim.config.linger;
        let mut connections = lock(&self.sim.connections);
        if self.lingers && !linger.is_zero() {
            if let Some(open) = connections.open.get_mut(&self.number) {
                open.until = Some(Instant::now() + linger);
            }
        } else {
            connections.open.remove(&self.number);
        }
    }
}
