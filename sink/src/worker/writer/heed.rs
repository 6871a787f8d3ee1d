//! Heeding notices about users when a post of theirs comes late.
//!
//! A sweep carries such notices to the posts that there are (`compliance`). A post that was
//! observed before one and is imported after the sweep is told of here: a notice about it goes
//! into the log, as the sweep would publish it, and it is written with that. So it is never seen,
//! and a rebuild knows why. `docs/adr/0007-notices-about-users.md` tells what else was thought of.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use bowerbird_store::DocumentStore;
use bowerbird_stream::log::Outgoing;
use bowerbird_stream::{EventLog, Position, topic};
use jiff::SignedDuration;

use super::{Unit, Writer};
use crate::compliance::users::{Asked, Authored, tell};
use crate::document::{self, USERS, user_id};
use crate::error::SinkError;
use crate::merge::{Notice, Observation, State};
use crate::worker::pace::Sample;

/// What was observed so long before the log had it did not come as it was observed. Of what did,
/// none is older than a notice whose sweep is over: a sweep waits for all that the log holds when
/// it begins.
const LATE: SignedDuration = SignedDuration::from_secs(10);

impl Unit {
    /// Its newest observation, if that is a post that came late.
    fn late(&self) -> Option<&Observation> {
        let seen = self.state.observed.as_ref()?;
        let at = &seen.stamp.position;
        let record = self.records.iter().find(|record| record.position == *at)?;
        let came_late = record.appended.duration_since(seen.stamp.time) > LATE;
        (&*at.topic == topic::POSTS && came_late).then_some(seen)
    }

    /// The author of that.
    fn late_by(&self) -> Option<String> {
        Authored::of(&self.late()?.content).by().map(str::to_owned)
    }

    /// What is asked of it.
    fn asked<'a>(&self, asked: &'a Asked) -> Option<&'a Notice> {
        let seen = self.state.observed.as_ref()?;
        let has_place = Authored::of(&seen.content).has_place();
        asked.of_post(&self.id, &self.state, has_place).map(|(_, notice)| notice)
    }
}

impl<L: EventLog, S: DocumentStore> Writer<L, S> {
    /// Tells the log, and `units`, of notices about the users whose posts among them came late.
    pub(super) async fn heed(
        &self,
        units: &mut [Unit],
        sample: &mut Sample,
    ) -> Result<(), SinkError> {
        if !self.affirms {
            return Ok(());
        }
        // Contents are read only where there is somebody to look for.
        let any_late = units.iter().any(|unit| unit.late().is_some());
        if !any_late || !self.has_users(units, sample).await? {
            return Ok(());
        }
        let late = units.iter().enumerate();
        let late: Vec<(usize, String)> =
            late.filter_map(|(at, unit)| Some((at, unit.late_by()?))).collect();
        let asked = self.asked_of(units, &late, sample).await?;
        let reached = |(at, user): (usize, String)| {
            let asked = asked.get(&user)?;
            units[at].asked(asked).map(|_| (at, user, asked))
        };
        let reached: Vec<_> = late.into_iter().filter_map(reached).collect();
        // It may be known already, or something newer be there.
        let ids = reached.iter().map(|(at, ..)| units[*at].id.clone()).collect();
        let stored = self.read(ids, sample).await?;
        let (mut notices, mut of) = (Vec::new(), Vec::new());
        for ((at, user, asked), stored) in reached.into_iter().zip(stored) {
            let unit = &units[at];
            let there = stored.and_then(|stored| document::read(&stored).ok()).unwrap_or_default();
            let whole = Unit::new(unit.id.clone(), unit.state.clone(), Vec::new());
            if let Some(notice) = whole.merged(there, None).asked(asked) {
                notices.push(tell(&user, &unit.id, notice)?);
                of.push(at);
            }
        }
        if notices.is_empty() {
            return Ok(());
        }
        tracing::info!(posts = notices.len(), "posts came late of users that a notice is about");
        let records = notices.iter().map(|one| Outgoing::event(topic::NOTICES, one.clone()));
        self.publish(records.collect()).await?;
        // A notice says the same wherever it stands.
        let anywhere = Position { topic: topic::NOTICES.into(), partition: 0, offset: 0 };
        for (at, notice) in of.into_iter().zip(notices) {
            if let Ok(mapped) = self.projection.mapping.map(&notice.view(), &anywhere) {
                let unit = &mut units[at];
                unit.state = std::mem::take(&mut unit.state).merge(mapped.state);
            }
        }
        Ok(())
    }

    /// Whether there are notices about users at all: once there are, there always are.
    async fn has_users(&self, units: &[Unit], sample: &mut Sample) -> Result<bool, SinkError> {
        if self.has_users.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let is_user = |id: &str| id.starts_with(USERS);
        let mut has_users = units.iter().any(|unit| is_user(&unit.id));
        if !has_users {
            let database = &self.projection.database;
            let first = || self.store.scan(database, Some(USERS), 1);
            let found = self.patiently(sample, |_| false, first).await?;
            has_users = found.iter().any(|document| is_user(&document.id));
        }
        self.has_users.store(has_users, Ordering::Relaxed);
        Ok(has_users)
    }

    /// What is asked of these users' posts, by what the store has and by what is among `units`.
    async fn asked_of(
        &self,
        units: &[Unit],
        late: &[(usize, String)],
        sample: &mut Sample,
    ) -> Result<HashMap<String, Asked>, SinkError> {
        let mut users: Vec<&String> = late.iter().map(|(_, user)| user).collect();
        users.sort_unstable();
        users.dedup();
        let stored = self.read(users.iter().map(|user| user_id(user)).collect(), sample).await?;
        let here: HashMap<&str, &State> =
            units.iter().map(|unit| (unit.id.as_str(), &unit.state)).collect();
        let asked = users.into_iter().zip(stored).filter_map(|(user, stored)| {
            let there = stored.and_then(|stored| document::read(&stored).ok()).unwrap_or_default();
            let here = here.get(&*user_id(user)).copied().cloned().unwrap_or_default();
            Some((user.clone(), Asked::of(&there.merge(here))?))
        });
        Ok(asked.collect())
    }
}

#[cfg(test)]
mod tests {
    use bowerbird_stream::{Headers, Position, Record};
    use bytes::Bytes;
    use jiff::Timestamp;

    use super::*;
    use crate::merge::{Content, PayloadHash, Stamp};

    #[test]
    fn only_of_posts_that_came_late_is_the_author_asked_for() {
        let post = r#"{"type":"post","author":{"id":"7"}}"#;
        for (topic, late_ms, content, author) in [
            (topic::POSTS, 10_001, post, Some("7")),
            (topic::POSTS, 10_000, post, None),
            (topic::POSTS, -5_000, post, None),
            (topic::POSTS, 10_001, r#"{"type":"post"}"#, None),
            (topic::FEATURES, 10_001, post, None),
        ] {
            let position = Position { topic: topic.into(), partition: 0, offset: 4 };
            let record = Record {
                position: position.clone(),
                appended: Timestamp::from_millisecond(100_000 + late_ms).unwrap(),
                key: Some(Bytes::from_static(b"1")),
                value: Some(Bytes::from_static(b"{}")),
                headers: Headers::new(),
            };
            let time = Timestamp::from_second(100).unwrap();
            let stamp = Stamp { time, hash: PayloadHash::of(b"{}"), mapping: 1, position };
            let state = State::observation(stamp, Content(content.to_owned()));
            let unit = Unit::new("1".to_owned(), state, vec![record]);
            assert_eq!(unit.late_by().as_deref(), author, "{topic} {late_ms} {content}");
        }
        let notice = Unit::new("1".to_owned(), State::default(), Vec::new());
        assert_eq!(notice.late_by(), None);
    }
}
