//! Publishing: idempotent, acknowledged by all replicas in sync.
//!
//! A call hands all its records to librdkafka and then waits once. Each record carries a ticket of
//! the call's one batch; the delivery callback fills in the answers, and the last one wakes the
//! caller.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use tokio::sync::Notify;

use super::config::Clients;
use super::error::{Kind, code, fault, kind};
use super::health::Health;
use crate::error::LogError;
use crate::event::Headers;
use crate::log::{Outgoing, Position};
use crate::metrics;

/// How long a caller whose records do not fit waits for a delivery before it looks again.
const FULL: Duration = Duration::from_millis(100);
/// After so many records a call lets other tasks run.
const BREATH: usize = 128;

/// How long after the first records a new producer is told of its cluster again, and once more in
/// case that it was not connected yet.
const INTRODUCTIONS: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(40), Duration::from_millis(80)];
/// A broker nearby answers sooner; for one far away librdkafka's own pace will do.
const INTRODUCED_WITHIN: Duration = Duration::from_secs(1);

/// The answer to one record.
#[derive(Clone, Debug)]
enum Slot {
    Waiting,
    Stored { partition: i32, offset: i64 },
    Failed(KafkaError),
}

/// One call's answers.
struct Batch {
    slots: Mutex<Vec<Slot>>,
    waiting: AtomicUsize,
    done: Notify,
}

impl Batch {
    fn new(records: usize) -> Arc<Self> {
        let slots = Mutex::new(vec![Slot::Waiting; records]);
        Arc::new(Self { slots, waiting: AtomicUsize::new(records), done: Notify::new() })
    }

    fn settle(&self, index: usize, slot: Slot) {
        if let Some(open) = self.slots.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index)
        {
            *open = slot;
        }
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    async fn answers(&self) -> Vec<Slot> {
        self.done.notified().await;
        std::mem::take(&mut self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a record under way carries.
pub(super) struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

/// The producer's callbacks.
pub(super) struct Delivering {
    health: Health,
    /// A record has left the queue. Told only while someone waits for it.
    progress: Notify,
    full: AtomicBool,
    introduced: AtomicBool,
}

impl ClientContext for Delivering {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.health.hear(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.note(&error, reason);
    }
}

impl ProducerContext for Delivering {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let slot = match result {
            Ok(message) => {
                Slot::Stored { partition: message.partition(), offset: message.offset() }
            }
            Err((error, _)) => Slot::Failed(error.clone()),
        };
        ticket.batch.settle(ticket.index, slot);
        if self.full.load(Ordering::Relaxed) {
            self.progress.notify_waiters();
        }
    }
}

type Client = BaseProducer<Delivering>;

/// How long one poll lasts. What is delivered meanwhile is told at once; but rdkafka cuts what is
/// left of a poll to whole milliseconds and so spins through the last of each: with its
/// `ThreadedProducer`, which polls for 100 ms, an idle producer takes a hundredth of a processor.
const POLL: Duration = Duration::from_secs(1);

/// A client that is polled by a thread of its own for as long as somebody has it. The thread may
/// be the last to let it go, so nobody waits for that.
fn polled(config: &ClientConfig, context: Delivering) -> Result<Arc<Client>, KafkaError> {
    let client: Arc<Client> = Arc::new(config.create_with_context(context)?);
    let polled = Arc::downgrade(&client);
    let poll = move || {
        while let Some(client) = polled.upgrade() {
            client.poll(POLL);
        }
    };
    let thread = std::thread::Builder::new().name("kafka-producer".to_owned()).spawn(poll);
    thread.map_err(|error| KafkaError::ClientCreation(format!("no thread for it: {error}")))?;
    Ok(client)
}

/// The publishing end of a log.
pub(super) struct Publisher {
    clients: Clients,
    address: String,
    /// Made when first needed, and again after a fatal error.
    producer: RwLock<Option<Arc<Client>>>,
    /// Topics that were seen to exist. librdkafka would hold back records of others for long.
    known: RwLock<HashSet<Arc<str>>>,
}

impl Publisher {
    pub(super) fn new(clients: Clients) -> Self {
        let address = clients.config.address();
        Self { clients, address, producer: RwLock::default(), known: RwLock::default() }
    }

    /// Whether this topic was seen to exist.
    pub(super) fn knows(&self, topic: &str) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).contains(topic)
    }

    pub(super) fn learn(&self, topics: impl IntoIterator<Item = Arc<str>>) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).extend(topics);
    }

    fn forget(&self, topic: &str) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    /// Publishes records of topics that exist; one answer per record.
    pub(super) async fn publish(&self, records: &[Outgoing]) -> Vec<Result<Position, LogError>> {
        let mut answers = self.send(records).await;
        // A broker refuses a batch as a whole, and so records that are not too large themselves,
        // where a topic takes less than was declared here. Each may go alone.
        for (answer, record) in answers.iter_mut().zip(records) {
            let refused = matches!(answer, Err(LogError::TooLarge { .. }));
            if refused && record.size() < self.clients.config.batch_bytes {
                let alone = self.send(std::slice::from_ref(record)).await.pop();
                *answer = alone.unwrap_or_else(|| answer.clone());
            }
        }
        answers
    }

    async fn send(&self, records: &[Outgoing]) -> Vec<Result<Position, LogError>> {
        let started = Instant::now();
        if records.is_empty() {
            return Vec::new();
        }
        let producer = match self.producer() {
            Ok(producer) => producer,
            Err(error) => return records.iter().map(|_| Err(error.clone())).collect(),
        };
        let batch = Batch::new(records.len());
        for (index, record) in records.iter().enumerate() {
            if let Err(error) = self.enqueue(&producer, &batch, index, record).await {
                batch.settle(index, Slot::Failed(error));
            }
            if index % BREATH == BREATH - 1 {
                tokio::task::yield_now().await;
            }
        }
        let slots = tokio::select! {
            biased;
            slots = batch.answers() => slots,
            () = self.introduce(&producer, &records[0].topic) => batch.answers().await,
        };
        let answers: Vec<_> = records
            .iter()
            .zip(slots)
            .map(|(record, slot)| self.answer(&producer, record, slot))
            .collect();
        let stored = answers.iter().filter(|answer| answer.is_ok()).count();
        if stored > 0 {
            producer.context().health.well();
            metrics::published("kafka", stored, started.elapsed());
        }
        if stored < records.len() {
            metrics::publish_failed("kafka");
            self.replace_if_fatal(&producer);
        }
        answers
    }

    /// Has a new producer ask for its identity soon. librdkafka asks when it hears of the cluster's
    /// brokers, which is before it is connected to one that can tell, and then only every 500 ms.
    /// Hearing of them once more, when it is connected, makes it ask at once.
    async fn introduce(&self, producer: &Arc<Client>, topic: &Arc<str>) {
        if producer.context().introduced.swap(true, Ordering::Relaxed) {
            return;
        }
        for pause in INTRODUCTIONS {
            tokio::time::sleep(pause).await;
            let (producer, topic) = (Arc::clone(producer), Arc::clone(topic));
            let asking =
                move || producer.client().fetch_metadata(Some(&topic), INTRODUCED_WITHIN).is_ok();
            // What is wrong with the brokers shows in the answers.
            if !tokio::task::spawn_blocking(asking).await.unwrap_or(false) {
                return;
            }
        }
    }

    /// Hands one record to librdkafka; waits while its queue is full.
    async fn enqueue(
        &self,
        producer: &Client,
        batch: &Arc<Batch>,
        index: usize,
        record: &Outgoing,
    ) -> Result<(), KafkaError> {
        if record.size() > self.clients.config.max_record_bytes {
            return Err(KafkaError::MessageProduction(Code::MessageSizeTooLarge));
        }
        let ticket = Box::new(Ticket { batch: Arc::clone(batch), index });
        let mut waiting = BaseRecord {
            topic: &record.topic,
            partition: None,
            payload: record.value.as_deref(),
            key: record.key.as_deref(),
            timestamp: None,
            headers: native_headers(&record.headers),
            delivery_opaque: ticket,
        };
        loop {
            let (error, back) = match producer.send(waiting) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            if error != KafkaError::MessageProduction(Code::QueueFull) {
                return Err(error);
            }
            let context = producer.context();
            let progress = context.progress.notified();
            context.full.store(true, Ordering::Relaxed);
            // Bounded, because the delivery may have been told before anyone listened.
            let _ = tokio::time::timeout(FULL, progress).await;
            context.full.store(false, Ordering::Relaxed);
            waiting = back;
        }
    }

    fn answer(
        &self,
        producer: &Client,
        record: &Outgoing,
        slot: Slot,
    ) -> Result<Position, LogError> {
        let error = match slot {
            Slot::Stored { partition, offset } => {
                return Ok(Position { topic: Arc::clone(&record.topic), partition, offset });
            }
            Slot::Failed(error) => error,
            // The last answer wakes the caller, so none is missing.
            Slot::Waiting => KafkaError::Canceled,
        };
        let health = &producer.context().health;
        Err(match fault(&error, &self.address, Some(&record.topic), health) {
            LogError::TooLarge { topic, reason, .. } => {
                LogError::TooLarge { topic, bytes: record.size(), reason }
            }
            LogError::MissingTopic { address, topic } => {
                self.forget(&topic);
                LogError::MissingTopic { address, topic }
            }
            other @ (LogError::Fatal { .. } | LogError::Transient { .. }) => {
                self.of_producer(producer, &error).unwrap_or(other)
            }
            other => other,
        })
    }

    /// What a record failed of that is not at fault itself: its producer has failed for good. The
    /// next one may get it through; unless who we are is refused, and then it says so.
    fn of_producer(&self, producer: &Client, error: &KafkaError) -> Option<LogError> {
        let address = self.address.clone();
        match producer.client().fatal_error() {
            Some((code, reason)) if kind(code) == Kind::Refused => {
                Some(LogError::Unauthorised { address, reason })
            }
            Some((_, reason)) => Some(LogError::Transient { address, reason }),
            None if code(error) == Some(Code::Fatal) => {
                Some(LogError::Transient { address, reason: error.to_string() })
            }
            None => None,
        }
    }

    fn producer(&self) -> Result<Arc<Client>, LogError> {
        let existing = |slot: &Option<Arc<Client>>| slot.as_ref().map(Arc::clone);
        if let Some(producer) =
            existing(&self.producer.read().unwrap_or_else(PoisonError::into_inner))
        {
            return Ok(producer);
        }
        let mut slot = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = existing(&slot) {
            return Ok(producer);
        }
        let context = Delivering {
            health: Health::default(),
            progress: Notify::new(),
            full: AtomicBool::new(false),
            introduced: AtomicBool::new(false),
        };
        let producer = polled(&self.clients.producing(), context)
            .map_err(|error| fault(&error, &self.address, None, &Health::default()))?;
        *slot = Some(Arc::clone(&producer));
        Ok(producer)
    }

    /// A producer that lost its identity refuses everything for good: the next call gets another.
    fn replace_if_fatal(&self, producer: &Arc<Client>) {
        let Some((code, reason)) = producer.client().fatal_error() else { return };
        tracing::warn!(%code, reason, "the producer failed for good, making another");
        let mut slot = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, producer)) {
            super::let_go(slot.take());
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        super::let_go(self.producer.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn native_headers(headers: &Headers) -> Option<OwnedHeaders> {
    if headers.is_empty() {
        return None;
    }
    let native = OwnedHeaders::new_with_capacity(headers.len());
    Some(
        headers.entries().fold(native, |native, (key, value)| native.insert(Header { key, value })),
    )
}
