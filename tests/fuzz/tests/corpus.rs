//! Every input of the corpus, on its target: what once found a mistake is tried by each test run.

use std::fs;
use std::path::Path;

use bowerbird_fuzz::TARGETS;

#[test]
fn every_target_takes_its_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for input in fs::read_dir(corpus.join(name)).unwrap() {
            let input = input.unwrap().path();
            println!("{}", input.display());
            let data = fs::read(input).unwrap();
            target(&data);
            // Cut off anywhere it is no worse.
            (0..data.len()).step_by(7).for_each(|end| target(&data[..end]));
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no corpus");
    }
}
