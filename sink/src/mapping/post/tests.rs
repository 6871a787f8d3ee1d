use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn fields_are_written_as_serde_writes_them(
        texts in proptest::collection::vec(".{0,20}[\"\\\\\n]?.{0,20}", 12),
        there in proptest::collection::vec(any::<bool>(), 12),
        seconds in 0_i64..4_000_000_000,
        centroid in any::<Option<(f64, f64)>>(),
        lists in (0..3_usize, 0..3_usize),
    ) {
        let maybe = |n: usize| there[n].then_some(texts[n].as_str());
        let cow = |n: usize| maybe(n).map(Cow::Borrowed);
        let time = Timestamp::new(seconds, 120_000_000).unwrap();
        let reference = |n: usize| {
            let text = |n: usize| Text(Cow::Borrowed(texts[n].as_str()));
            Reference { r#type: text(n), id: text(n + 1) }
        };
        let id = Cow::Borrowed(texts[1].as_str());
        let fields = Fields {
            r#type: "post",
            text: &texts[0],
            lang: maybe(1),
            created_at: there[0].then_some(time),
            author: there[2].then_some(Author { id, username: cow(3), name: cow(4) }),
            place: there[5].then_some(place::Located {
                id: cow(6), name: cow(7), country: cow(8), centroid, precision: "point",
            }),
            references: (0..lists.0).map(reference).collect(),
            source: Source {
                system: "x",
                uri: &texts[9],
                rules: texts.iter().take(lists.1).map(|text| Cow::Borrowed(&**text)).collect(),
                query: maybe(9),
                file: maybe(10),
                line: maybe(11),
                retrieved_at: time,
            },
        };
        let mut written = Vec::new();
        fields.write(&mut written).unwrap();
        let expected = serde_json::to_string(&fields).unwrap();
        prop_assert_eq!(String::from_utf8(written).unwrap(), expected);
    }
}
