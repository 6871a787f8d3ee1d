//! From a file, or a member of one, to blocks of lines: through every compression and container in
//! it, one after the other, on a thread of its own.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::mpsc::SyncSender;

use super::blocks::{Block, Blocks, Broken};
use super::checkpoint::Mark;
use super::claim;
use super::format::{Format, Peeked};
use super::members::{self, Check, Checked, Directory, Failed, Member, may_pass};
use super::name;
use super::range::Range;
use super::streamed::{self, Streamed};
use super::text::Text;
use super::values::Values;

/// How many compressions and containers may lie in each other. Archives have three.
const MAX_DEPTH: usize = 8;

/// What is found, in order.
#[derive(Debug)]
pub enum Piece {
    /// Lines of this file or member follow, from this place on.
    Begin {
        /// Its name, with the containers that it is in.
        name: String,
        /// What was read of it before.
        from: Mark,
    },
    /// Lines.
    Block(Block),
    /// They end, and how.
    End(Option<Broken>),
    /// A member that is not read, and why; it takes a number of its own.
    Unread {
        /// Its name.
        name: String,
        /// Which one it is.
        leaf: u64,
        /// Why, and what to do.
        error: String,
    },
    /// The system can't read the rest, and why.
    Unreadable(String),
    /// A file or member without any object: a picture, a note.
    Foreign {
        /// Its name.
        name: String,
        /// Which one it is.
        leaf: u64,
    },
    /// A member that only names another file.
    Link {
        /// Its name.
        name: String,
        /// Which one it is.
        leaf: u64,
    },
}

/// Why a walk ended before the end.
#[derive(Debug)]
pub enum Stop {
    /// Nobody wants the rest.
    Gone,
    /// The system can't read it, which may pass.
    Unreadable(io::Error),
}

type Walked = Result<(), Stop>;

/// A walk through one file or member.
pub struct Walk<'a> {
    /// Where the pieces go.
    pub out: &'a SyncSender<Piece>,
    /// What was found before an interruption is passed over.
    pub from: Mark,
    /// The longest line that is kept whole.
    pub max_line_bytes: usize,
    /// See [`super::ArchiveConfig::zstd_window_log_max`].
    pub window_log_max: u32,
    /// What holds no object is foreign: nobody has named this file.
    pub picky: bool,
    /// Lines are passed on as they come.
    pub live: bool,
    /// The number of the next file or member with lines.
    pub leaf: u64,
}

impl Walk<'_> {
    /// Walks through a member that a container lists.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn member(&mut self, member: Member, name: &str, depth: usize) -> Walked {
        match member {
            Member::Plain(range, check) => self.range(range, check, name, depth),
            Member::Packed(range, method, check) => {
                match method.decoder(range, self.window_log_max) {
                    Ok(decoder) => {
                        let mut checked = Checked::new(decoder, Some(check));
                        self.stream(&mut checked, name, depth)
                    }
                    Err(error) => self.unread(name, error.to_string()),
                }
            }
            Member::Unread(error) => self.unread(name, error),
            Member::Link => self.link(name),
        }
    }

    /// Walks through what lies in a file as it is.
    fn range(
        &mut self,
        mut range: Range,
        check: Option<Check>,
        name: &str,
        depth: usize,
    ) -> Walked {
        let head = match range.head(super::format::HEAD_BYTES as u64) {
            Ok(head) => head,
            Err(error) if may_pass(&error) => return Err(Stop::Unreadable(error)),
            // It is cut within its first bytes: the stream tells.
            Err(_) => Vec::new(),
        };
        match Format::of(&head) {
            Format::Tar if depth < MAX_DEPTH => {
                let taken = members::of_tar(&range, |path, member| {
                    self.picky(|walk| walk.member(member, &name::of_member(name, path), depth + 1))
                });
                self.container(name, taken)
            }
            Format::Zip if depth < MAX_DEPTH => match Directory::find(&range) {
                Ok(directory) => {
                    let taken = directory.members(|path, member| {
                        let name = name::of_member(name, path);
                        self.picky(|walk| walk.member(member, &name, depth + 1))
                    });
                    self.container(name, taken)
                }
                Err(error) if may_pass(&error) => Err(Stop::Unreadable(error)),
                Err(_) => self.stream(&mut range, name, depth),
            },
            // What a zip says of the sum of a member's bytes holds for all of them.
            Format::Lines if check.is_none() && self.goes_on() => {
                range.seek(SeekFrom::Start(self.from.offset)).map_err(Stop::Unreadable)?;
                let text = Text::of(&head, true).unwrap_or(Text::Lines);
                self.leaf(&mut range, name, text)
            }
            _ => self.stream(&mut Checked::new(range, check), name, depth),
        }
    }

    /// Walks through what comes as a stream.
    ///
    /// # Errors
    /// See [`Stop`].
    pub fn stream(&mut self, reader: &mut dyn Read, name: &str, depth: usize) -> Walked {
        self.claimed(reader, name, claim::packed(name), depth)
    }

    /// Walks through what its name says is packed, if it does. Of what comes out of a compression
    /// the name says nothing more.
    fn claimed(
        &mut self,
        reader: &mut dyn Read,
        name: &str,
        packed: Option<&str>,
        depth: usize,
    ) -> Walked {
        let mut peeked = Peeked::new(reader);
        let window_log_max = self.window_log_max;
        match peeked.format() {
            Format::Lines => {
                let goes_on = self.goes_on();
                let text = peeked.text();
                match text {
                    // Posts that can't be read are told, whoever has named them.
                    Text::Unread { why, posts } if posts || !self.picky => {
                        return self.unread(name, why.to_owned());
                    }
                    // To pass it over would lose whatever it was before.
                    Text::Unread { .. } | Text::Lines
                        if let Some(ending) = packed
                            && !goes_on
                            && !peeked.may_be_json() =>
                    {
                        return self.broken(name, no_such_thing(ending));
                    }
                    Text::Unread { .. } => return self.foreign(name),
                    Text::Lines if self.picky && !goes_on && !peeked.may_hold_objects() => {
                        return self.foreign(name);
                    }
                    _ => {}
                }
                if goes_on && let Err(error) = skip(&mut peeked, self.from.offset) {
                    return self.broken(name, error);
                }
                self.leaf(&mut peeked, name, text)
            }
            Format::Unread(format) => {
                let text = format!(
                    "it is {format}, which is not read; unpack it first, and import what comes out"
                );
                self.unread(name, text)
            }
            _ if depth >= MAX_DEPTH => {
                let text = format!("it lies more than {MAX_DEPTH} archives deep; unpack it first");
                self.unread(name, text)
            }
            Format::Tar => {
                let taken = streamed::of_tar(&mut peeked, |path, member| {
                    self.streamed(&name::of_member(name, path), member, depth)
                });
                self.container(name, taken)
            }
            Format::Zip => {
                let taken = streamed::of_zip(&mut peeked, window_log_max, |path, member| {
                    self.streamed(&name::of_member(name, path), member, depth)
                });
                self.container(name, taken)
            }
            format => match format.decoder(peeked, window_log_max) {
                Ok(mut decoder) => self.claimed(&mut decoder, name, None, depth + 1),
                Err(error) => self.unread(name, error.to_string()),
            },
        }
    }

    fn streamed(&mut self, name: &str, member: Streamed<'_>, depth: usize) -> Walked {
        match member {
            Streamed::Read(reader) => self.picky(|walk| walk.stream(reader, name, depth + 1)),
            Streamed::Unread(why) => self.unread(name, why),
            Streamed::Link => self.link(name),
        }
    }

    /// Nobody names the members of a container one by one.
    fn picky(&mut self, walk: impl FnOnce(&mut Self) -> Walked) -> Walked {
        let before = std::mem::replace(&mut self.picky, true);
        let walked = walk(self);
        self.picky = before;
        walked
    }

    /// A container has ended.
    fn container(&mut self, name: &str, taken: Result<(), Failed<Stop>>) -> Walked {
        match taken {
            Ok(()) => Ok(()),
            Err(Failed::Taker(stop)) => Err(stop),
            Err(Failed::Container(error)) if may_pass(&error) => Err(Stop::Unreadable(error)),
            Err(Failed::Container(error)) => self.unread(name, members::cut_container(&error)),
        }
    }

    /// Whether the next leaf is the one that was under way.
    fn is_next(&self) -> bool {
        self.leaf == self.from.leaf
    }

    /// Whether it is, and some of it was read before.
    fn goes_on(&self) -> bool {
        self.is_next() && self.from.offset > 0
    }

    /// The number of the next leaf; nothing when it was done before.
    fn number(&mut self) -> Option<u64> {
        let leaf = self.leaf;
        self.leaf += 1;
        (leaf >= self.from.leaf).then_some(leaf)
    }

    fn send(&self, piece: Piece) -> Walked {
        self.out.send(piece).map_err(|_| Stop::Gone)
    }

    fn unread(&mut self, name: &str, error: String) -> Walked {
        let Some(leaf) = self.number() else { return Ok(()) };
        self.send(Piece::Unread { name: name.to_owned(), leaf, error })
    }

    fn foreign(&mut self, name: &str) -> Walked {
        let Some(leaf) = self.number() else { return Ok(()) };
        self.send(Piece::Foreign { name: name.to_owned(), leaf })
    }

    fn link(&mut self, name: &str) -> Walked {
        let Some(leaf) = self.number() else { return Ok(()) };
        self.send(Piece::Link { name: name.to_owned(), leaf })
    }

    fn begin(&mut self, name: &str) -> Result<bool, Stop> {
        let goes_on = self.is_next();
        let Some(leaf) = self.number() else { return Ok(false) };
        let from = if goes_on { self.from } else { Mark { leaf, ..Mark::default() } };
        self.send(Piece::Begin { name: name.to_owned(), from })?;
        Ok(true)
    }

    /// It can't even be read up to where it was read before, or from its first byte on.
    fn broken(&mut self, name: &str, error: io::Error) -> Walked {
        if may_pass(&error) {
            return Err(Stop::Unreadable(error));
        }
        if self.begin(name)? {
            self.send(Piece::End(Some(Broken { error, tail: bytes::Bytes::new() })))?;
        }
        Ok(())
    }

    fn leaf(&mut self, reader: &mut dyn Read, name: &str, text: Text) -> Walked {
        let goes_on = self.goes_on();
        if !self.begin(name)? {
            return Ok(());
        }
        let mut next: Box<dyn FnMut() -> Result<Option<Block>, Broken> + '_> = match text {
            Text::Values { listed } => {
                let lists = u64::from(listed && goes_on);
                let mut values = Values::new(reader, self.max_line_bytes, lists);
                Box::new(move || values.next())
            }
            _ => {
                let mut blocks = Blocks::new(reader, self.max_line_bytes, self.live);
                Box::new(move || blocks.next())
            }
        };
        loop {
            match next() {
                Ok(Some(block)) => self.send(Piece::Block(block))?,
                Ok(None) => return self.send(Piece::End(None)),
                Err(broken) if may_pass(&broken.error) => {
                    return Err(Stop::Unreadable(broken.error));
                }
                Err(broken) => return self.send(Piece::End(Some(broken))),
            }
        }
    }
}

fn no_such_thing(ending: &str) -> io::Error {
    let text = format!("its name ends in {ending}, and its bytes are neither packed nor JSON");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn skip(reader: &mut impl Read, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut reader.take(bytes), &mut io::sink())?;
    if skipped < bytes {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("it ends after {skipped} bytes, before the checkpoint at {bytes}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
