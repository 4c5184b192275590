//! Small aligned text tables.

use super::text::columns;

/// On which side a column's cells are filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells, printed in columns as wide as they need to be.
#[derive(Debug, Clone)]
pub struct Table<const N: usize> {
    align: [Align; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table of so many columns, without rows.
    pub fn new(align: [Align; N]) -> Self {
        let rows = Vec::new();
        Self { align, rows }
    }

    /// Adds a row. Cells hold one line each.
    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// The rows as lines of equal columns, two spaces apart, without trailing spaces.
    pub fn render(&self) -> String {
        let width = |column: usize| self.rows.iter().map(|row| columns(&row[column])).max();
        let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, width), align) in row.iter().zip(widths).zip(self.align) {
                let fill = " ".repeat(width - columns(cell));
                match align {
                    Align::Left => line.extend([cell, fill.as_str(), "  "]),
                    Align::Right => line.extend([fill.as_str(), cell, "  "]),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new([Align::Left, Align::Right, Align::Left]);
        for row in [["a", "1", ""], ["字字", "100", "x"], ["", "", ""]] {
            table.row(row.map(str::to_owned));
        }
        assert_eq!(table.render(), "a       1\n字字  100  x\n\n");
        assert_eq!(Table::new([Align::Left]).render(), "");
    }
}
