use std::sync::Arc;

use bowerbird_store::{Document, DocumentStore};
use serde_json::json;

use crate::bed::{Bed, document, revision};

pub async fn fetches_in_the_order_asked(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    bed.fill(&db, &["a", "b", "c"]).await;
    let ids = ["c", "missing", "a", "_design/none", "b"].map(str::to_owned);
    let found = bed.store.fetch(&db, &ids).await.unwrap();
    let found: Vec<Option<&str>> =
        found.iter().map(|found| found.as_ref().map(|document| &*document.id)).collect();
    assert_eq!(found, [Some("c"), None, Some("a"), None, Some("b")]);
    assert!(bed.store.fetch(&db, &[]).await.unwrap().is_empty());
}

/// All ids of a scan in pages of `limit`.
async fn scan(bed: &Bed, db: &str, limit: usize) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    loop {
        let page = bed.store.scan(db, ids.last().map(String::as_str), limit).await.unwrap();
        if page.is_empty() {
            return ids;
        }
        assert!(page.len() <= limit);
        assert!(page.iter().all(|document| document.revision.is_some()));
        ids.extend(page.into_iter().map(|document| document.id));
    }
}

pub async fn scans_in_the_order_of_bytes(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    assert!(scan(&bed, &db, 10).await.is_empty());
    // Within Latin-1: PouchDB does not list what lies behind it.
    let mut ids = vec![
        "0", "00", "10", "9", "A", "Z", "a", "aa", "a b", "a!", "ab", "b", "é", "z", "ß", "ÿ", "^",
        "`", "~", "{", "A_", "a_b",
    ];
    bed.fill(&db, &ids).await;
    ids.sort_unstable();
    for limit in [1, 2, 7, 1000] {
        assert_eq!(scan(&bed, &db, limit).await, ids, "in pages of {limit}");
    }
    assert!(bed.store.scan(&db, Some("ÿ"), 10).await.unwrap().is_empty());
}

pub async fn scans_on_behind_what_is_gone(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    bed.fill(&db, &["a", "c", "e"]).await;
    let page = bed.store.scan(&db, Some("b"), 1).await.unwrap();
    assert_eq!(page[0].id, "c");
    let Document { id, revision: Some(standing), .. } = page[0].clone() else {
        panic!("no revision")
    };
    revision(&bed.put(&db, Document::tombstone(id, standing).unwrap()).await);
    let rest = bed.store.scan(&db, Some("c"), 5).await.unwrap();
    assert_eq!(rest.iter().map(|document| &*document.id).collect::<Vec<_>>(), ["e"]);
    let rest = bed.store.scan(&db, Some("a"), 1).await.unwrap();
    assert_eq!(rest.iter().map(|document| &*document.id).collect::<Vec<_>>(), ["e"]);
}

pub async fn passes_over_design_documents(bed: Arc<Bed>) {
    let db = bed.databases.create().await;
    let designs: Vec<Document> =
        (0..5).map(|n| document(&format!("_design/d{n}"), &json!({"views": {}, "n": n}))).collect();
    bed.store.write(&db, &designs).await.unwrap();
    bed.fill(&db, &["A", "b"]).await;
    for limit in [1, 2, 3, 100] {
        assert_eq!(scan(&bed, &db, limit).await, ["A", "b"], "in pages of {limit}");
    }
    assert!(bed.get(&db, "_design/d3").await.is_some());
    assert_eq!(bed.store.database(&db).await.unwrap().unwrap().documents, 2);
}
