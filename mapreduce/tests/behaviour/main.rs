//! What views do, on each kind of them: QuickJS over the SQLite store, and the view server of a
//! CouchDB. The same documents give the same answers.
//!
//! `tests/run` starts the server. To run this on another, name it in `BOWERBIRD_TEST_COUCHDB`.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod bed;
mod deploying;
mod designs;
mod following;
mod querying;

/// Runs every behaviour on the views that `$open` makes.
macro_rules! behaviour_suite {
    ($open:path) => {
        behaviour_suite!($open, deploying: [
            is_done_once, tells_what_it_would_do, leaves_the_live_views_when_it_fails,
            tells_what_is_missing, brings_new_answers, is_safe_side_by_side,
        ]);
        behaviour_suite!($open, querying: [
            keeps_couchdbs_order, selects_by_key, reduces_by_group, sums_counts_and_describes,
            runs_functions_of_our_own, leaves_out_what_a_map_fails_on, refuses_what_makes_no_sense,
        ]);
        behaviour_suite!($open, following: [
            sees_what_was_written_before, forgets_a_dropped_database,
        ]);
        behaviour_suite!($open, designs: [
            places_are_counted, hours_are_counted, features_are_counted, events_are_listed,
        ]);
    };
    ($open:path, $module:ident: [$($behaviour:ident),+ $(,)?]) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $behaviour() {
                    let bed = $open();
                    bed.run(crate::$module::$behaviour).await;
                }
            )+
        }
    };
}

mod quickjs {
    behaviour_suite!(crate::bed::quickjs);
}

mod couch {
    behaviour_suite!(crate::bed::couch);
}
