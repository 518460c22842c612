//! Medians, what lies around them, and columns.
#![forbid(unsafe_code)]

use std::fmt;

pub fn median(values: Vec<f64>) -> f64 {
    Spread::of(values).median
}

/// A median, and between which values half of them are.
pub struct Spread {
    pub median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Spread {
        assert!(!values.is_empty());
        values.sort_by(f64::total_cmp);
        let last = values.len() - 1;
        // Between two values where the place is between two.
        let at = |part: f64| {
            let place = part * last as f64;
            let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Spread { median: at(0.5), low: at(0.25), high: at(0.75) }
    }
}

/// `1251 (1240..1290)`, or with as many places as are asked for.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(0);
        write!(f, "{:.places$} ({:.places$}..{:.places$})", self.median, self.low, self.high)
    }
}

/// What these are where those are 1, round by round.
pub fn relative(these: &[f64], those: &[f64]) -> String {
    if these == those {
        return "1".to_owned();
    }
    format!("{:.2}", Spread::of(these.iter().zip(those).map(|(this, that)| this / that).collect()))
}

/// Columns under a title: the first to the left, all others to the right. Rows may be short.
pub fn table(title: &str, rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = format!("\n{title}\n");
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            text += &if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
        }
        text += "\n";
    }
    text
}

/// A row of cells.
pub fn row<const N: usize>(cells: [&dyn fmt::Display; N]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}
