use proptest::prelude::*;

use super::*;

fn document(id: &str) -> Document {
    Document::new(id, &serde_json::json!({})).unwrap()
}

#[test]
fn every_row_has_its_outcome() {
    let documents = ["a", "b", "c", "d", "e"].map(document);
    let sent: Vec<&Document> = documents.iter().collect();
    let body = br#"[{"ok":true,"id":"a","rev":"1-x"},
        {"id":"b","error":"conflict","reason":"Document update conflict."},
        {"id":"c","error":"forbidden","reason":"no place"},
        {"id":"d","error":"internal_server_error","reason":{"odd":1}},
        {"ok":true,"accepted":true,"id":"e","rev":"2-y"}]"#;
    let outcomes = bulk(&sent, body).unwrap();
    assert_eq!(outcomes[0], WriteOutcome::Written(Revision("1-x".into())));
    assert_eq!(outcomes[1], WriteOutcome::Conflict);
    assert!(matches!(&outcomes[2], WriteOutcome::Refused { error, .. } if error == "forbidden"));
    assert!(
        matches!(&outcomes[3], WriteOutcome::Failed { reason, .. } if reason == r#"{"odd":1}"#)
    );
    assert_eq!(outcomes[4], WriteOutcome::Written(Revision("2-y".into())));
}

#[test]
fn rows_in_another_order_are_found_by_id() {
    let documents = ["a", "_local/b"].map(document);
    let sent: Vec<&Document> = documents.iter().collect();
    let body = br#"[{"ok":true,"id":"_local/b","rev":"0-1"},{"id":"a","error":"conflict"}]"#;
    let outcomes = bulk(&sent, body).unwrap();
    assert_eq!(outcomes[0], WriteOutcome::Conflict);
    assert_eq!(outcomes[1], WriteOutcome::Written(Revision("0-1".into())));
}

#[test]
fn answers_to_something_else_are_not_taken() {
    let documents = ["a", "b"].map(document);
    let sent: Vec<&Document> = documents.iter().collect();
    for body in [
        "",
        "<html>",
        "{\"error\":\"x\"}",
        "[]",
        r#"[{"ok":true,"id":"a","rev":"1-x"}"#,
        r#"[{"ok":true,"id":"a","rev":"1-x"}]"#,
        r#"[{"ok":true,"id":"a","rev":"1-x"},{"ok":true,"id":"z","rev":"1-x"}]"#,
        r#"[{"ok":true,"id":"a","rev":"1-x"},{"id":"b"}]"#,
    ] {
        assert!(bulk(&sent, body.as_bytes()).is_err(), "{body}");
    }
    let unauthorised = r#"[{"ok":true,"id":"a","rev":"1-x"},{"id":"b","error":"unauthorized"}]"#;
    assert!(matches!(bulk(&sent, unauthorised.as_bytes()), Err(Misread::Unauthorised(_))));
}

#[test]
fn fetched_documents_keep_the_order_of_the_ids() {
    let body = br#"{"total_rows":3,"offset":0,"rows":[
        {"id":"b","key":"b","value":{"rev":"1-b"},"doc":{"_id":"b","_rev":"1-b","x":1.0}},
        {"key":"zz","error":"not_found"},
        {"id":"d","key":"d","value":{"rev":"2-d","deleted":true},"doc":null}]}"#;
    let found = fetched(&["b", "zz", "d"], body).unwrap();
    assert_eq!(found[0].as_ref().unwrap().body.get(), r#"{"x":1.0}"#);
    assert!(found[1].is_none() && found[2].is_none());
    assert!(fetched(&["b", "zz"], body).is_err());
    assert!(fetched(&["b", "d", "zz"], body).is_err());
}

#[test]
fn a_page_leaves_out_where_it_began_and_what_is_reserved() {
    let body = br#"{"rows":[{"id":"Z","key":"Z","value":{},"doc":{"_id":"Z","_rev":"1-a"}},
        {"id":"_design/q","key":"_design/q","value":{},"doc":{"_id":"_design/q","_rev":"1-a"}},
        {"id":"a","key":"a","value":{},"doc":{"_id":"a","_rev":"1-a"}}]}"#;
    let Page { documents, last, rows } = page(Some("Z"), body).unwrap();
    let ids: Vec<_> = documents.iter().map(|document| document.id.as_str()).collect();
    assert_eq!((ids, last.as_deref(), rows), (vec!["a"], Some("a"), 3));
}

#[test]
fn sequences_are_text_or_numbers() {
    let couch = br#"{"results":[{"seq":"1-g","id":"a","changes":[],"deleted":true,"doc":
        {"_id":"a","_rev":"2-a","_deleted":true}}],"last_seq":"1-g","pending":4}"#;
    let found = changes(1, couch).unwrap();
    assert_eq!((found.last.as_str(), found.more), ("1-g", true));
    assert!(found.rows[0].document.is_none());
    let pouch = br#"{"results":[],"last_seq":7}"#;
    let found = changes(1, pouch).unwrap();
    assert_eq!((found.last.as_str(), found.more), ("7", false));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        let document = document("a");
        let _ = bulk(&[&document], &bytes);
        let _ = fetched(&["a"], &bytes);
        let _ = single(&bytes);
        let _ = page(None, &bytes);
        let _ = changes(1, &bytes);
    }

    #[test]
    fn no_cut_answer_is_taken(cut in 0_usize..100) {
        let whole = br#"[{"ok":true,"id":"a","rev":"1-967a00dff5e02add41819138abb3284d"}]"#;
        let document = document("a");
        let cut = cut.min(whole.len() - 1);
        prop_assert!(bulk(&[&document], &whole[..cut]).is_err());
    }
}
