//! Judging one document against what the log says of it: pure.

use std::collections::HashMap;

use bowerbird_stream::{Partition, Position};

use super::Kind;
use super::runs::Expected;
use crate::merge::State;

/// Up to where the log was judged, per partition; what stands there or later is too young.
#[derive(Debug, Default)]
pub(super) struct Young {
    pub bounds: HashMap<Partition, i64>,
    /// Some record of the projection's topics was not judged.
    pub any: bool,
}

impl Young {
    fn holds(&self, position: &Position) -> bool {
        let partition = position.in_partition();
        self.bounds.get(&partition).is_none_or(|bound| position.offset >= *bound)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Same,
    Differs(Kind, String),
}

/// `there`: what the document says, or why it is not one of ours.
pub(super) fn judge(
    there: &Result<State, String>,
    want: Option<&Expected>,
    young: &Young,
) -> Judged {
    let there = match there {
        Ok(there) => there,
        Err(why) => return Judged::Differs(Kind::Unexpected, why.clone()),
    };
    // Notices carry no position, so with anything young about, theirs may be too.
    let may_be_young =
        there.observed.as_ref().is_some_and(|seen| young.holds(&seen.stamp.position)) || young.any;
    let Some(want) = want else {
        return if may_be_young {
            Judged::Same
        } else {
            Judged::Differs(
                Kind::Unexpected,
                format!("no event of it is in the log: {}", tell(there)),
            )
        };
    };
    let merged = there.clone().merge(want.state.clone());
    if !there.says_as_much_as(&merged) {
        let detail = format!("it has {}, the log says {}", tell(there), tell(&merged));
        return Judged::Differs(Kind::Stale, detail);
    }
    if !want.lettered && !may_be_young && !want.state.says_as_much_as(&merged) {
        let detail = format!("it has {}, the log only says {}", tell(there), tell(&want.state));
        return Judged::Differs(Kind::Ahead, detail);
    }
    // Of the same event, after the same notices. A copy that stands elsewhere may have come another
    // way, and tells so; which copy a document was made from makes no difference.
    let content = |state: &State| state.observed.as_ref().map(|seen| seen.content.clone());
    let position = |state: &State| state.observed.as_ref().map(|seen| seen.stamp.position.clone());
    if !may_be_young
        && want.state.says_as_much_as(&merged)
        && position(there) == position(&want.state)
        && content(there) != content(&want.state)
    {
        let detail =
            format!("of {} it says something else than the mapping makes of it", tell(there));
        return Judged::Differs(Kind::Different, detail);
    }
    Judged::Same
}

/// What is missing when there is no document; nothing when all its events have dead letters.
pub(super) fn missing(want: &Expected) -> Option<String> {
    (want.state != State::default()).then(|| format!("the log says {}", tell(&want.state)))
}

fn tell(state: &State) -> String {
    let observed = match &state.observed {
        Some(seen) => {
            format!("an observation of {} ({})", seen.stamp.time, seen.stamp.position)
        }
        None => "no observation".to_owned(),
    };
    match state.notices.len() {
        0 => observed,
        notices => format!("{observed} and {notices} kinds of notices"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::{Content, PayloadHash, Stamp};

    fn seen(second: i64, offset: i64) -> State {
        let stamp = Stamp {
            time: jiff::Timestamp::from_second(second).unwrap(),
            hash: PayloadHash::of(b""),
            mapping: 1,
            position: Position { topic: "posts".into(), partition: 0, offset },
        };
        State::observation(stamp, Content(String::new()))
    }

    fn kind(there: State, want: Option<State>, lettered: bool, young: &Young) -> Option<Kind> {
        let want = want.map(|state| Expected { state, lettered });
        match judge(&Ok(there), want.as_ref(), young) {
            Judged::Same => None,
            Judged::Differs(kind, _) => Some(kind),
        }
    }

    #[test]
    fn each_kind_of_difference_is_told() {
        let bounds = HashMap::from([(Partition::new("posts", 0), 100)]);
        let level = Young { bounds, any: false };
        for (there, want, lettered, expected) in [
            (seen(1, 5), Some(seen(1, 5)), false, None),
            // The same event, standing elsewhere.
            (seen(1, 5), Some(seen(1, 9)), false, None),
            (seen(1, 5), Some(seen(2, 9)), false, Some(Kind::Stale)),
            (seen(2, 5), Some(seen(1, 9)), false, Some(Kind::Ahead)),
            // The newer one has a dead letter, and was redriven.
            (seen(2, 5), Some(seen(1, 9)), true, None),
            // Past what was judged.
            (seen(2, 100), Some(seen(1, 9)), false, None),
            (seen(1, 5), None, false, Some(Kind::Unexpected)),
            (seen(1, 100), None, false, None),
        ] {
            assert_eq!(kind(there, want, lettered, &level), expected);
        }
        let foreign = judge(&Err("foreign".to_owned()), None, &level);
        assert_eq!(foreign, Judged::Differs(Kind::Unexpected, "foreign".to_owned()));
    }

    #[test]
    fn a_copy_that_came_another_way_is_no_other_content() {
        let level = Young::default();
        let says = |offset, text: &str| {
            let mut state = seen(1, offset);
            state.observed.as_mut().unwrap().content = Content(text.to_owned());
            state
        };
        let bounds = HashMap::from([(Partition::new("posts", 0), 100)]);
        let level = Young { bounds, ..level };
        assert_eq!(kind(says(5, "a"), Some(says(9, "b")), false, &level), None);
        assert_eq!(kind(says(9, "a"), Some(says(9, "b")), false, &level), Some(Kind::Different));
    }

    #[test]
    fn a_dead_letter_accounts_for_an_event() {
        let lettered = Expected { state: State::default(), lettered: true };
        assert_eq!(missing(&lettered), None);
        assert!(missing(&Expected { state: seen(1, 1), lettered: false }).is_some());
    }
}
