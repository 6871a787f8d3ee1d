use std::sync::Arc;

use bowerbird_mapreduce::Query;
use bowerbird_store::{Document, DocumentStore};
use serde_json::json;

use crate::bed::{Bed, design, expected};

pub async fn sees_what_was_written_before(bed: Arc<Bed>) {
    let db = bed.database(&[json!({"k": "a"}), json!({"k": "b"})]).await;
    bed.deploy(&db, &design("function (doc) { emit(doc.k, 1); }", Some("_sum"))).await.unwrap();
    let grouped = Query::grouped();
    let counts = || bed.rows(&db, &grouped);
    assert_eq!(counts().await, expected(json!([["a", 1], ["b", 1]])));

    bed.add(&db, 2, &[json!({"k": "a"}), json!({"k": "c"})]).await;
    assert_eq!(counts().await, expected(json!([["a", 2], ["b", 1], ["c", 1]])));

    let ids = ["000", "001"].map(str::to_owned);
    let standing = bed.store.fetch(&db, &ids).await.unwrap();
    let revision = |n: usize| standing[n].as_ref().unwrap().revision.clone().unwrap();
    let changed = Document::new("000", &json!({"k": "d"})).unwrap();
    let changed = Document { revision: Some(revision(0)), ..changed };
    let gone = Document::tombstone("001", revision(1)).unwrap();
    bed.write(&db, &[changed, gone]).await;
    assert_eq!(counts().await, expected(json!([["a", 1], ["c", 1], ["d", 1]])));

    bed.add(&db, 1, &[json!({"k": "b"})]).await;
    assert_eq!(counts().await, expected(json!([["a", 1], ["b", 1], ["c", 1], ["d", 1]])));
    assert_eq!(counts().await.len(), 4, "asked again, it is the same");
}

pub async fn forgets_a_dropped_database(bed: Arc<Bed>) {
    let design = design("function (doc) { emit(doc.k, 1); }", Some("_sum"));
    let db = bed.database(&[json!({"k": "a"}), json!({"k": "b"})]).await;
    bed.deploy(&db, &design).await.unwrap();
    assert_eq!(bed.rows(&db, &Query::default()).await, expected(json!([[null, 2]])));
    bed.store.drop_database(&db).await.unwrap();
    bed.store.create_database(&db).await.unwrap();
    bed.add(&db, 7, &[json!({"k": "c"})]).await;
    bed.deploy(&db, &design).await.unwrap();
    assert_eq!(bed.rows(&db, &Query::grouped()).await, expected(json!([["c", 1]])));
}
