//! The source against a model: any order of appends, rotations, truncations, deletions, idle times, refusals and
//! restarts, after which every line is in the channel once, in order within its file, and nothing else is.
//!
//! What the model leaves out cannot be kept by anybody: files that came and went between two looks, or that went with
//! unread lines while nobody had them open. A failing run prints its operations, and proptest their seed.

use super::tail::Tail;
use super::tests::World;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Longer than the idle timeout, which is two minutes.
const LONG_IDLE: Duration = Duration::from_secs(1_000);

#[derive(Debug, Clone)]
enum Op {
    /// Lines to some file, the last one perhaps without its end.
    Append {
        file: usize,
        lines: usize,
        whole: bool,
    },
    /// A new file that matches.
    Create,
    /// To a name that matches or to one that does not.
    Rename {
        file: usize,
        out: bool,
    },
    /// Cut to nothing, then lines.
    Cut {
        file: usize,
        lines: usize,
    },
    Delete {
        file: usize,
    },
    Idle,
    Settle,
    /// The component goes without a word and comes back, after some operations perhaps.
    Down,
    Up,
    Refuse {
        times: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let file = 0..4usize;
    prop_oneof![
        6 => (file.clone(), 0..5usize, prop::bool::weighted(0.7))
            .prop_map(|(file, lines, whole)| Op::Append { file, lines, whole }),
        2 => Just(Op::Create),
        3 => (file.clone(), any::<bool>()).prop_map(|(file, out)| Op::Rename { file, out }),
        1 => (file.clone(), 0..9usize).prop_map(|(file, lines)| Op::Cut { file, lines }),
        1 => file.prop_map(|file| Op::Delete { file }),
        1 => Just(Op::Idle),
        3 => Just(Op::Settle),
        1 => Just(Op::Down),
        2 => Just(Op::Up),
        1 => (1..6u64).prop_map(|times| Op::Refuse { times }),
    ]
}

/// A file as its writer knows it.
struct Written {
    id: usize,
    /// Where it stands; none if it is deleted.
    name: Option<String>,
    /// Its writer, who does not care for names; none when it has closed it.
    writer: Option<File>,
    lines: usize,
    /// Lines that are to arrive, in order.
    expected: Vec<String>,
    /// A line without its end.
    half: String,
    /// It was there when the source looked.
    known: bool,
    matches: bool,
    renamed: bool,
    /// The source has it open, and it had lines since it may have been closed.
    open: bool,
    written: bool,
    /// Nobody reads it any more.
    closed: bool,
}

impl Written {
    fn write(&mut self, lines: usize, whole: bool) {
        let mut text = String::new();
        self.written |= lines > 0;
        for n in 0..lines {
            let line = format!("f{}-{}", self.id, self.lines);
            self.lines += 1;
            let (last, half) = (n + 1 == lines, std::mem::take(&mut self.half));
            text.push_str(&line);
            if last && !whole {
                self.half = half + &line;
            } else {
                text.push('\n');
                self.expected.push(half + &line);
            }
        }
        self.writer.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn end_line(&mut self) {
        if !self.half.is_empty() {
            self.writer.as_mut().unwrap().write_all(b"\n").unwrap();
            self.expected.push(std::mem::take(&mut self.half));
        }
    }
}

struct Model<'a> {
    world: &'a World,
    tail: Option<Tail<'a>>,
    files: Vec<Written>,
    names: usize,
    /// Handles are few: what is gone cannot wait for the end of a line.
    few: bool,
}

impl<'a> Model<'a> {
    fn file(&mut self, number: usize, fits: impl Fn(&Written) -> bool) -> Option<&mut Written> {
        let mut fit: Vec<&mut Written> = self.files.iter_mut().filter(|f| fits(f)).collect();
        let number = number.checked_rem(fit.len())?;
        Some(fit.swap_remove(number))
    }

    async fn settle(&mut self) {
        if let Some(tail) = &mut self.tail {
            self.world.settle(tail).await;
            for file in &mut self.files {
                (file.known, file.open) = (true, file.open || file.written);
            }
        }
    }

    async fn idle(&mut self) {
        let Some(tail) = &mut self.tail else { return };
        self.world.settle(tail).await;
        self.world.pass(tail, LONG_IDLE).await;
        for file in &mut self.files {
            (file.known, file.open, file.written) = (true, false, false);
            let gone = file.name.is_none() || !file.matches;
            if (gone || file.renamed) && !file.closed && !file.half.is_empty() {
                file.expected.push(std::mem::take(&mut file.half));
            }
            if gone {
                file.closed = true;
                file.writer = None;
            }
        }
    }

    fn create(&mut self) {
        let id = self.files.len();
        self.names += 1;
        let name = format!("{}.log", self.names);
        let path = self.world.at(&name);
        let writer = File::options().append(true).create(true).open(path).unwrap();
        self.files.push(Written {
            id,
            name: Some(name),
            writer: Some(writer),
            lines: 0,
            expected: Vec::new(),
            half: String::new(),
            known: false,
            matches: true,
            renamed: false,
            open: true,
            written: false,
            closed: false,
        });
    }

    fn rename(&mut self, number: usize, out: bool) {
        self.names += 1;
        let (up, few, names, world) = (self.tail.is_some(), self.few, self.names, self.world);
        let fits = |f: &Written| f.name.is_some() && f.matches && (f.known || !out || up);
        let Some(file) = self.file(number, fits) else {
            return;
        };
        if (out && few) || !up {
            file.end_line();
        }
        let name = format!("{names}.log{}", if out { ".1" } else { "" });
        fs::rename(world.at(file.name.as_ref().unwrap()), world.at(&name)).unwrap();
        (file.name, file.matches) = (Some(name), !out);
        file.renamed |= file.known;
    }

    /// Only when all is read, since what is cut away is nobody's any more.
    async fn cut(&mut self, number: usize, lines: usize) {
        self.settle().await;
        if self.tail.is_none() {
            return;
        }
        let fits = |f: &Written| f.name.is_some() && f.matches && f.half.is_empty() && f.writer.is_some();
        let Some(file) = self.file(number, fits) else {
            return;
        };
        let writer = file.writer.as_ref().unwrap();
        let before = writer.metadata().unwrap().len();
        writer.set_len(0).unwrap();
        file.write(lines, true);
        // As large as before and in the same tick of the clock: not even its time tells.
        if file.writer.as_ref().unwrap().metadata().unwrap().len() == before {
            file.write(1, true);
        }
    }

    async fn delete(&mut self, number: usize) {
        if self.few {
            self.settle().await;
        }
        if self.tail.is_none() {
            return;
        }
        let (few, world) = (self.few, self.world);
        let fits = |f: &Written| {
            let read = !f.written && f.half.is_empty();
            f.name.is_some() && f.matches && f.known && (f.open || read) && (f.half.is_empty() || !few)
        };
        let Some(file) = self.file(number, fits) else {
            return;
        };
        fs::remove_file(world.at(&file.name.take().unwrap())).unwrap();
        if few {
            file.closed = true;
        }
        // So that its inode number is free as soon as nobody reads it.
        file.writer = None;
    }

    /// Everything that is there by now is in the position file; what comes then is in the channel's position only.
    async fn down(&mut self) {
        if self.tail.is_none() {
            return;
        }
        for file in &mut self.files {
            if file.writer.is_some() && (file.renamed || !file.matches) {
                file.end_line();
            }
        }
        self.settle().await;
        let Some(mut tail) = self.tail.take() else { return };
        self.world.tick();
        tail.write_now().await.unwrap();
        for file in &mut self.files {
            // It is known under this name from now on.
            file.renamed = false;
            if file.writer.is_some() && file.matches && !file.closed {
                file.write(1, true);
            }
            // Deleted ones go with the handles, and what they have is read by now, up to a half line.
            if file.name.is_none() && !file.closed {
                file.closed = true;
                file.half.clear();
            }
        }
        self.world.settle(&mut tail).await;
        // Those that no pattern matches were read to their end and are forgotten only when idle.
    }

    async fn up(&mut self) {
        if self.tail.is_none() {
            self.tail = Some(self.world.start().await);
            // Read to their end before, so nobody looks for them.
            for file in self.files.iter_mut().filter(|f| !f.matches && f.name.is_some()) {
                file.known = true;
            }
            self.settle().await;
        }
    }

    async fn run(&mut self, op: &Op) {
        match op {
            Op::Append { file, lines, whole } => {
                let down = self.tail.is_none();
                let (lines, whole) = (*lines, *whole);
                let few = self.few;
                let fits = |f: &Written| {
                    let followed = f.name.is_some() && (f.matches || (!down && !few));
                    f.writer.is_some() && !f.closed && (followed || (f.name.is_none() && !down && !few))
                };
                if let Some(file) = self.file(*file, fits) {
                    let whole = whole || (few && !file.matches) || (down && file.renamed);
                    file.write(lines, whole);
                }
            }
            Op::Create => self.create(),
            Op::Rename { file, out } => self.rename(*file, *out),
            Op::Cut { file, lines } => self.cut(*file, *lines).await,
            Op::Delete { file } => self.delete(*file).await,
            Op::Idle => self.idle().await,
            Op::Settle => self.settle().await,
            Op::Down => self.down().await,
            Op::Up => self.up().await,
            Op::Refuse { times } => self.world.channel.refusals_left.store(*times, SeqCst),
        }
    }

    async fn end(&mut self) {
        self.up().await;
        self.idle().await;
        self.idle().await;
    }
}

/// Lines of each file, in order of arrival.
fn by_file(bodies: Vec<String>) -> BTreeMap<usize, Vec<String>> {
    let mut found: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for body in bodies {
        let id = body[1..].split('-').next().unwrap().parse().unwrap();
        found.entry(id).or_default().push(body);
    }
    found
}

fn check(ops: &[Op], open_files: &str, batch: &str) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::new(&[("maxOpenFiles", open_files), ("batchSize", batch)]);
        let mut model = Model {
            tail: Some(world.start().await),
            world: &world,
            files: Vec::new(),
            names: 0,
            few: open_files != "256",
        };
        model.create();
        for op in ops {
            model.run(op).await;
        }
        model.end().await;
        let found = by_file(world.channel.bodies());
        for file in &model.files {
            let found = found.get(&file.id).cloned().unwrap_or_default();
            prop_assert_eq!(&found, &file.expected, "file {}", file.id);
        }
        let ids: BTreeSet<usize> = model.files.iter().map(|f| f.id).collect();
        prop_assert!(found.keys().all(|id| ids.contains(id)));
        // The position file has every file that is there, at its end or at the start of its last line.
        model.tail.as_mut().unwrap().finish().await.unwrap();
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_line_arrives_once_whatever_happens_to_its_file(ops in prop::collection::vec(op(), 1..40)) {
        check(&ops, "256", "3")?;
    }

    #[test]
    fn and_so_with_very_few_handles(ops in prop::collection::vec(op(), 1..40), open in 1..3usize) {
        check(&ops, &open.to_string(), "100")?;
    }
}
