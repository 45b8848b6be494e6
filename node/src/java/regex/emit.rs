//! Writes the tree as a pattern of the regex crate, or of fancy-regex where it takes more than a regular language.
//!
//! Two forms: *full* says all that Java says; *plain* takes the places at ends of lines for ends of the text, which
//! is right for a text without line terminators (at its end, or at all; see [`Needs`]) and needs no looking around.

use super::class::literal;
use super::parse::{Greed, Node, Place};

/// What a pattern asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Look-around, references, atomic groups, `\G`: only a backtracking engine has them.
    pub backtracking: bool,
    /// `$`, `\Z`: plain holds for texts that do not end with a line terminator.
    pub last_line: bool,
    /// `^` or `$` with `(?m)`: plain holds for texts without a line terminator that are not empty.
    pub lines: bool,
}

impl Needs {
    /// Those of a tree.
    pub fn of(node: &Node) -> Self {
        let mut needs = Self::default();
        needs.add(node);
        needs
    }

    fn add(&mut self, node: &Node) {
        match node {
            Node::At(Place::LastLine(_)) => self.last_line = true,
            Node::At(Place::LineStart(_) | Place::LineEnd(_)) => self.lines = true,
            Node::At(Place::LastMatch) | Node::BackRef(..) => self.backtracking = true,
            Node::Atomic(node) | Node::Look { node, .. } => {
                self.backtracking = true;
                self.add(node);
            }
            Node::Group(node) | Node::Repeat(node, ..) => self.add(node),
            Node::Seq(all) | Node::Alt(all) => all.iter().for_each(|node| self.add(node)),
            Node::Empty | Node::Char(_) | Node::Class(_) | Node::Any | Node::LineBreak | Node::At(_) => {}
        }
    }
}

/// The pattern; `groups` is how many groups there are, for references to others.
pub(super) fn emit(node: &Node, plain: bool, groups: usize) -> String {
    let mut out = Emitter {
        text: String::new(),
        plain,
        groups,
    };
    out.node(node);
    out.text
}

impl Node {
    /// Whether it moves nowhere and no group stands in it (but one that looks).
    fn stays(&self) -> bool {
        match self {
            Self::Empty | Self::Look { .. } | Self::At(_) => true,
            Self::Seq(all) | Self::Alt(all) => all.iter().all(Self::stays),
            Self::Repeat(node, ..) | Self::Atomic(node) => node.stays(),
            _ => false,
        }
    }
}

const NOTHING: &str = r"[^\x{0}-\x{10FFFF}]";
/// Without the line feed, which may be the second half of one.
const TERMINATORS: &str = r"\x{D}\x{85}\x{2028}\x{2029}";

struct Emitter {
    text: String,
    plain: bool,
    groups: usize,
}

impl Emitter {
    fn node(&mut self, node: &Node) {
        match node {
            Node::Empty => {}
            Node::Char(c) => self.text.push_str(&literal(*c)),
            Node::Class(class) => self.text.push_str(class),
            Node::Any => self.text.push_str("(?s:.)"),
            Node::LineBreak => self
                .text
                .push_str(r"(?:\x{D}\x{A}|[\x{A}-\x{D}\x{85}\x{2028}\x{2029}])"),
            Node::Seq(all) => all.iter().for_each(|node| match node {
                Node::Alt(_) => self.within("(?:", node),
                node => self.node(node),
            }),
            Node::Alt(all) => {
                for (n, node) in all.iter().enumerate() {
                    if n > 0 {
                        self.text.push('|');
                    }
                    self.node(node);
                }
            }
            Node::Group(node) => self.within("(", node),
            Node::Repeat(node, least, most, greed) => self.repeat(node, *least, *most, *greed),
            Node::Atomic(node) => self.within("(?>", node),
            Node::Look {
                ahead,
                negative,
                node,
            } => {
                let open = match (ahead, negative) {
                    (true, false) => "(?=",
                    (true, true) => "(?!",
                    (false, false) => "(?<=",
                    (false, true) => "(?<!",
                };
                self.within(open, node);
            }
            // A group that does not exist never takes part.
            Node::BackRef(number, _) if *number > self.groups => self.text.push_str(NOTHING),
            Node::BackRef(number, any_case) => {
                let flag = if *any_case { "i" } else { "" };
                self.text.push_str(&format!(r"(?{flag}:\k<{number}>)"));
            }
            Node::At(place) => self.text.push_str(&self.place(*place)),
        }
    }

    fn within(&mut self, open: &str, node: &Node) {
        self.text.push_str(open);
        self.node(node);
        self.text.push(')');
    }

    fn repeat(&mut self, node: &Node, least: u32, most: Option<u32>, greed: Greed) {
        if most == Some(0) {
            // Its groups are there and never take part.
            self.text.push_str(&format!("(?:{NOTHING}"));
            self.within("(?:", node);
            self.text.push_str(")?");
            return;
        }
        if node.stays() {
            // Moves nowhere: once is as good as often.
            match (least, greed) {
                (0, Greed::Lazy) => self.text.push_str("(?:|"),
                _ => self.text.push_str("(?:"),
            }
            self.node(node);
            self.text.push_str(if least == 0 && greed != Greed::Lazy {
                "|)"
            } else {
                ")"
            });
            return;
        }
        match node {
            Node::Char(_) | Node::Class(_) | Node::Any | Node::Group(_) | Node::LineBreak => self.node(node),
            node => self.within("(?:", node),
        }
        match (least, most) {
            (0, None) => self.text.push('*'),
            (1, None) => self.text.push('+'),
            (0, Some(1)) => self.text.push('?'),
            (least, None) => self.text.push_str(&format!("{{{least},}}")),
            (least, Some(most)) => self.text.push_str(&format!("{{{least},{most}}}")),
        }
        if greed == Greed::Lazy {
            self.text.push('?');
        }
    }

    fn place(&self, place: Place) -> String {
        let text = match place {
            Place::Begin => r"\A",
            Place::End => r"\z",
            Place::LastMatch => r"\G",
            Place::Word => r"\b",
            Place::NoWord => r"\B",
            Place::LastLine(_) | Place::LineEnd(_) if self.plain => r"\z",
            Place::LineStart(_) if self.plain => r"\A",
            Place::LastLine(true) => r"(?=\x{A}?\z)",
            Place::LastLine(false) => {
                r"(?:(?=(?:\x{D}\x{A}?|[\x{85}\x{2028}\x{2029}])?\z)|(?<!\x{D})(?=\x{A}\z))"
            }
            Place::LineEnd(true) => r"(?=\x{A}|\z)",
            Place::LineEnd(false) => {
                return format!(r"(?:(?=[{TERMINATORS}]|\z)|(?<!\x{{D}})(?=\x{{A}}))");
            }
            Place::LineStart(true) => r"(?:(?!\z)(?:\A|(?<=\x{A})))",
            Place::LineStart(false) => {
                r"(?:(?!\z)(?:\A|(?<=[\x{A}\x{85}\x{2028}\x{2029}])|(?<=\x{D})(?!\x{A})))"
            }
        };
        text.to_owned()
    }
}
