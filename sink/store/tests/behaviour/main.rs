//! What every document store does, run on each: the SQLite file, a server that speaks CouchDB's
//! protocol, and the same with a login.
//!
//! `tests/run` starts the servers. To run this on others, name them in `BOWERBIRD_TEST_COUCHDB`
//! and, with user and password in the URL, `BOWERBIRD_TEST_COUCHDB_AUTH`.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod bed;
mod changes;
mod databases;
mod login;
mod reading;
mod writing;

/// Runs every behaviour on the store that `$open` makes.
macro_rules! behaviour_suite {
    ($store:ident, $open:path) => {
        behaviour_suite!($store, $open, databases: [
            come_and_go, keep_to_the_rule_of_names, that_are_missing_are_told,
        ]);
        behaviour_suite!($store, $open, writing: [
            revisions_guard_documents, every_row_has_its_outcome, deletes_and_brings_back,
            keeps_any_id_and_body, lets_one_of_many_writers_win, is_safe_to_repeat,
            takes_large_batches, keeps_local_documents_apart,
        ]);
        behaviour_suite!($store, $open, reading: [
            fetches_in_the_order_asked, scans_in_the_order_of_bytes, scans_on_behind_what_is_gone,
            passes_over_design_documents,
        ]);
        behaviour_suite!($store, $open, changes: [
            tells_each_document_once, goes_on_where_it_stood, pages_to_the_end,
        ]);
    };
    ($store:ident, $open:path, $module:ident: [$($behaviour:ident),+ $(,)?]) => {
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

mod sqlite {
    behaviour_suite!(sqlite, crate::bed::sqlite);
}

mod couch {
    behaviour_suite!(couch, crate::bed::couch);
}

mod couch_with_login {
    behaviour_suite!(couch_with_login, crate::bed::couch_with_login);
}
