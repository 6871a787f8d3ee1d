//! JavaScript on one thread: a runtime with bounds, and the programs that were used last.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rquickjs::{Array, CaughtError, Context, Ctx, Function, Object, Persistent, Runtime};

/// How many programs are kept compiled.
const PROGRAMS: usize = 8;
/// The deepest that functions may call each other, in bytes of stack. The thread has more.
const STACK_BYTES: usize = 1 << 20;
const BOOTSTRAP: &str = include_str!("bootstrap.js");

/// Functions that run together: the maps of a design, or one reduce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// What messages call them: `map of view x`, …
    pub(crate) names: Vec<String>,
    /// Their JavaScript.
    pub(crate) sources: Vec<String>,
}

/// A document for the maps.
#[derive(Debug)]
pub(crate) struct Input {
    /// Its id, for messages.
    pub(crate) id: String,
    /// The whole of it, `_id` and `_rev` included.
    pub(crate) json: String,
}

/// The rows of one function on one document, as JSON texts of key and value, or why it failed.
pub(crate) type Emitted = Result<Vec<(String, String)>, String>;

/// Why a program can't go on.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Which function, if one.
    pub(crate) function: String,
    /// What the engine said.
    pub(crate) reason: String,
}

/// What a program may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of all programs together, in bytes.
    pub(crate) memory: usize,
    /// Of one call.
    pub(crate) time: Duration,
}

pub(super) struct Machine {
    /// The last used first. Fields are dropped in their order, and a runtime must go last.
    programs: Vec<(Arc<Program>, Compiled)>,
    runtime: Runtime,
    limits: Limits,
    /// When the call that runs must have ended.
    deadline: Rc<Cell<Option<Instant>>>,
}

#[derive(Clone)]
struct Compiled {
    entry: Persistent<Object<'static>>,
    context: Context,
}

impl Machine {
    /// A runtime; once `stop` is set, whatever runs is ended.
    pub(super) fn new(limits: Limits, stop: Arc<AtomicBool>) -> Result<Self, Failure> {
        let runtime = Runtime::new().map_err(|error| failure("the engine", &error))?;
        runtime.set_memory_limit(limits.memory);
        runtime.set_max_stack_size(STACK_BYTES);
        let deadline: Rc<Cell<Option<Instant>>> = Rc::default();
        let watched = Rc::clone(&deadline);
        runtime.set_interrupt_handler(Some(Box::new(move || {
            stop.load(Ordering::Relaxed) || watched.get().is_some_and(|end| Instant::now() > end)
        })));
        Ok(Self { programs: Vec::new(), runtime, limits, deadline })
    }

    /// Runs the functions of a program on documents.
    pub(super) fn map(
        &mut self,
        program: &Arc<Program>,
        documents: &[Input],
    ) -> Result<Vec<Vec<Emitted>>, Failure> {
        let compiled = self.compiled(program)?;
        compiled.context.with(|ctx| {
            let entry =
                compiled.entry.restore(&ctx).map_err(|error| failure("the engine", &error))?;
            let map: Function<'_> =
                entry.get("map").map_err(|error| failure("the engine", &error))?;
            let mut all = Vec::with_capacity(documents.len());
            for document in documents {
                self.start();
                let emitted = call_map(&map, &document.json).map_err(|error| {
                    let Failure { function, reason } =
                        self.explain(&ctx, error, &program.names.join(", "));
                    Failure { function, reason: format!("{reason}, on document {}", document.id) }
                })?;
                all.push(emitted);
            }
            tell_notes(&entry);
            Ok(all)
        })
    }

    /// Runs a reduce function on JSON texts; its result is one too.
    pub(super) fn reduce(
        &mut self,
        program: &Arc<Program>,
        keys: &str,
        values: &str,
        rereduce: bool,
    ) -> Result<String, Failure> {
        let compiled = self.compiled(program)?;
        self.start();
        compiled.context.with(|ctx| {
            let reduced = compiled.entry.restore(&ctx).and_then(|entry| {
                let reduce: Function<'_> = entry.get("reduce")?;
                reduce.call::<_, String>((keys, values, rereduce))
            });
            reduced.map_err(|error| self.explain(&ctx, error, &program.names.join(", ")))
        })
    }

    fn compiled(&mut self, program: &Arc<Program>) -> Result<Compiled, Failure> {
        if let Some(position) = self.programs.iter().position(|(known, _)| known == program) {
            let found = self.programs.remove(position);
            self.programs.insert(0, found);
        } else {
            let compiled = self.compile(program)?;
            self.programs.truncate(PROGRAMS - 1);
            self.programs.insert(0, (Arc::clone(program), compiled));
        }
        Ok(self.programs[0].1.clone())
    }

    fn compile(&self, program: &Program) -> Result<Compiled, Failure> {
        let context =
            Context::full(&self.runtime).map_err(|error| failure("the engine", &error))?;
        self.start();
        let entry = context.with(|ctx| {
            let entry: Object<'_> =
                ctx.eval(BOOTSTRAP).map_err(|error| self.explain(&ctx, error, "the engine"))?;
            for (name, source) in program.names.iter().zip(&program.sources) {
                entry
                    .get::<_, Function<'_>>("add")
                    .and_then(|add| add.call::<_, ()>((source.as_str(),)))
                    .map_err(|error| self.explain(&ctx, error, name))?;
            }
            Ok(Persistent::save(&ctx, entry))
        })?;
        Ok(Compiled { entry, context })
    }

    fn start(&self) {
        self.deadline.set(Instant::now().checked_add(self.limits.time));
    }

    fn explain(&self, ctx: &Ctx<'_>, error: rquickjs::Error, function: &str) -> Failure {
        let late = self.deadline.get().is_some_and(|end| Instant::now() > end);
        let caught = CaughtError::from_error(ctx, error);
        let reason = match caught {
            CaughtError::Exception(exception) => {
                let name = exception.get("name").unwrap_or_else(|_| "Error".to_owned());
                format!("{name}: {}", exception.message().unwrap_or_default())
            }
            CaughtError::Value(value) => format!("it threw {value:?}"),
            CaughtError::Error(error) => error.to_string(),
        };
        let reason = if late {
            format!("it did not end within {} s", self.limits.time.as_secs_f64())
        } else {
            reason
        };
        Failure { function: function.to_owned(), reason }
    }
}

fn failure(function: &str, error: &rquickjs::Error) -> Failure {
    Failure { function: function.to_owned(), reason: error.to_string() }
}

fn call_map(map: &Function<'_>, document: &str) -> rquickjs::Result<Vec<Emitted>> {
    let found: Array<'_> = map.call((document,))?;
    let mut emitted = Vec::with_capacity(found.len());
    for of_function in found.iter::<rquickjs::Value<'_>>() {
        let of_function = of_function?;
        let Some(rows) = of_function.as_array() else {
            emitted.push(Err(of_function.get::<String>()?));
            continue;
        };
        let mut pairs = Vec::with_capacity(rows.len() / 2);
        let mut texts = rows.iter::<String>();
        while let (Some(key), Some(value)) = (texts.next(), texts.next()) {
            pairs.push((key?, value?));
        }
        emitted.push(Ok(pairs));
    }
    Ok(emitted)
}

/// What the functions logged goes to our log; it is no reason to fail.
fn tell_notes(entry: &Object<'_>) {
    let notes = entry
        .get::<_, Function<'_>>("notes")
        .and_then(|notes| notes.call::<_, Vec<String>>(()))
        .unwrap_or_default();
    for note in notes {
        tracing::debug!(note, "a function logged");
    }
}
