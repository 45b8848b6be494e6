//! A sheet of characters: frames, texts and wires that join or pass below each other.

use super::char_columns;
use super::text::{End, Net, Style};

const NORTH: u8 = 1;
const EAST: u8 = 2;
const SOUTH: u8 = 4;
const WEST: u8 = 8;

/// Rows of cells. A cell behind a wide character is empty; wires are kept aside until all are known.
pub struct Canvas {
    cells: Vec<Vec<Option<char>>>,
    wires: Vec<Vec<Vec<(usize, u8)>>>,
}

impl Canvas {
    pub fn new(width: usize, height: usize) -> Self {
        Self {
            cells: vec![vec![Some(' '); width]; height],
            wires: vec![vec![Vec::new(); width]; height],
        }
    }

    fn put(&mut self, x: usize, y: usize, c: Option<char>) {
        if let Some(cell) = self.cells.get_mut(y).and_then(|row| row.get_mut(x)) {
            *cell = c;
        }
    }

    pub fn write(&mut self, x: usize, y: usize, text: &str) {
        let mut x = x;
        for c in text.chars() {
            match char_columns(c) {
                // A combining mark has no cell of its own here.
                0 => continue,
                2 => self.put(x + 1, y, None),
                _ => {}
            }
            self.put(x, y, Some(c));
            x += char_columns(c);
        }
    }

    /// A border of six characters around `[x, y, width, height]`, its inside cleared of nothing.
    pub fn frame(&mut self, [x, y, width, height]: [usize; 4], border: &str, title: &str) {
        let mut parts = border.chars();
        let mut part = || parts.next().unwrap_or(' ');
        let (nw, flat, ne, upright, sw, se) = (part(), part(), part(), part(), part(), part());
        let (right, bottom) = (x + width.max(2) - 1, y + height.max(2) - 1);
        for column in x..=right {
            self.put(column, y, Some(flat));
            self.put(column, bottom, Some(flat));
        }
        for row in y..=bottom {
            self.put(x, row, Some(upright));
            self.put(right, row, Some(upright));
        }
        for (column, row, corner) in [(x, y, nw), (right, y, ne), (x, bottom, sw), (right, bottom, se)] {
            self.put(column, row, Some(corner));
        }
        self.write(x + 1, y, &format!(" {title} "));
    }

    fn wire(&mut self, x: usize, y: usize, net: usize, toward: u8) {
        let Some(cell) = self.wires.get_mut(y).and_then(|row| row.get_mut(x)) else {
            return;
        };
        match cell.iter_mut().find(|(n, _)| *n == net) {
            Some((_, all)) => *all |= toward,
            None => cell.push((net, toward)),
        }
    }

    fn flat(&mut self, net: usize, y: usize, from: usize, to: usize) {
        for x in from..to {
            self.wire(x, y, net, EAST);
            self.wire(x + 1, y, net, WEST);
        }
    }

    /// Draws a net between the right edge of boxes and the left edge of the next ones.
    pub fn net(&mut self, id: usize, net: &Net, from: usize, to: usize) {
        let last = to.saturating_sub(1);
        if net.is_straight() {
            for row in &net.from {
                self.flat(id, *row, from, last);
                self.wire(from, *row, id, WEST);
            }
            return;
        }
        let lane = from + 1 + 2 * net.lane;
        for row in &net.from {
            self.flat(id, *row, from, lane);
            self.wire(from, *row, id, WEST);
        }
        for (_, _, row) in &net.to {
            self.flat(id, *row, lane, last);
        }
        let (least, greatest) = net.span();
        for y in least..greatest {
            self.wire(lane, y, id, SOUTH);
            self.wire(lane, y + 1, id, NORTH);
        }
    }

    /// Turns what is known of wires into characters.
    pub fn settle_wires(&mut self) {
        for y in 0..self.cells.len() {
            for x in 0..self.cells[y].len() {
                let wires = &self.wires[y][x];
                let all = wires.iter().fold(0, |all, w| all | w.1);
                let c = match (wires.len(), all) {
                    (0, _) => continue,
                    // A frame's border: the wire goes through.
                    (_, _) if self.cells[y][x] == Some('║') => '╫',
                    (1, _) => joint(all),
                    // Nets that cross are not connected: the horizontal one passes below.
                    _ => joint(
                        wires
                            .iter()
                            .map(|w| w.1)
                            .find(|d| d & (NORTH | SOUTH) != 0)
                            .unwrap_or(all),
                    ),
                };
                self.cells[y][x] = Some(c);
            }
        }
    }

    /// The last cells before a box show what kind of wire it is.
    pub fn arrow(&mut self, (_, style, row): &End, from: usize, to: usize) {
        let (dash, head) = match style {
            Style::Plain => ('─', '▶'),
            Style::Optional => ('╌', '▷'),
            Style::Never => ('┈', '✕'),
        };
        self.put(to - 1, *row, Some(head));
        for x in from.max(to.saturating_sub(4))..to - 1 {
            if self.cells[*row][x] == Some('─') {
                self.put(x, *row, Some(dash));
            }
        }
    }

    pub fn into_text(self) -> String {
        let mut text = String::new();
        for row in self.cells {
            let line: String = row.into_iter().flatten().collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn joint(toward: u8) -> char {
    const JOINTS: [char; 16] = [
        ' ', '│', '─', '╰', '│', '│', '╭', '├', '─', '╯', '─', '┴', '╮', '┤', '┬', '┼',
    ];
    JOINTS[usize::from(toward & 15)]
}
