//! Plots in SVG. Their text takes the page's colour, and the lines have colours that can be seen on light
//! and dark.

use std::ops::Range;

use anyhow::Result;
use plotters::{
    chart::{ChartBuilder, ChartContext},
    coord::{Shift, cartesian::Cartesian2d, types::RangedCoordf64},
    element::{Circle, Rectangle},
    prelude::{DrawingArea, IntoDrawingArea as _, SVGBackend},
    series::LineSeries,
    style::{Color as _, RGBColor, ShapeStyle},
};

/// Of lines, by their number; the last is for all that have none of their own.
pub(super) const COLOURS: [(u8, u8, u8); 8] = [
    (0x3b, 0x82, 0xc4),
    (0xc8, 0x74, 0x1f),
    (0x2e, 0x9e, 0x6b),
    (0xc0, 0x52, 0x7a),
    (0x8a, 0x63, 0xd2),
    (0x8f, 0x85, 0x1a),
    (0x1f, 0x93, 0xa5),
    (0x85, 0x85, 0x85),
];

const ALARM: RGBColor = RGBColor(0xd0, 0x45, 0x3c);
const GREY: RGBColor = RGBColor(0x85, 0x85, 0x85);
const WIDTH: u32 = 960;
/// Room to the left for the longest name, the same in all plots so that their times stand in a line.
const LABELS: u32 = 120;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A line by its corners.
pub(super) struct Line {
    /// An index of [`COLOURS`].
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// A time axis from 0 to its length, in some unit.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub(super) length: f64,
}

/// Lines over time.
pub(super) fn lines(axis: Axis, lines: &[Line], label: &dyn Fn(&f64) -> String) -> Result<String> {
    let values = lines.iter().flat_map(|line| &line.points);
    let highest = values.map(|(_, value)| *value).fold(1.0, f64::max);
    draw(260, |area| {
        let mut chart = chart(area, axis, 0.0..highest * 1.05, 5, label)?;
        for line in lines {
            let (red, green, blue) = COLOURS[line.colour];
            let style = RGBColor(red, green, blue).stroke_width(2);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        }
        Ok(())
    })
}

/// Returns what happened when: a name a line, and a mark from and to each time.
pub(super) fn marks(axis: Axis, names: &[&str], marks: &[(usize, f64, f64)]) -> Result<String> {
    let rows = names.len();
    draw(44 + 24 * rows as u32, |area| {
        // From top to bottom; only the rows themselves have labels.
        let name = |place: &f64| {
            let is_row = (place - place.round()).abs() < 1e-9;
            let index = rows as f64 - 1.0 - place.round();
            let name = is_row.then(|| names.get(index as usize)).flatten();
            name.map_or(String::new(), |name| (*name).to_owned())
        };
        let mut chart = chart(area, axis, -0.5..rows as f64 - 0.5, rows + 2, &name)?;
        let place = |row: usize| (rows - 1 - row) as f64;
        chart.draw_series(marks.iter().map(|(row, from, to)| {
            Rectangle::new(
                [(*from, place(*row) - 0.18), (*to, place(*row) + 0.18)],
                ShapeStyle::from(ALARM.mix(0.5)).filled(),
            )
        }))?;
        chart.draw_series(marks.iter().map(|(row, from, to)| {
            Circle::new(((from + to) / 2.0, place(*row)), 4, ALARM.filled())
        }))?;
        Ok(())
    })
}

/// Returns an empty chart, with about so many labels of its values.
fn chart<'a, 'b>(
    area: &'a Area<'b>,
    axis: Axis,
    values: Range<f64>,
    labels: usize,
    label: &dyn Fn(&f64) -> String,
) -> Result<ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>> {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(16)
        .x_label_area_size(28)
        .y_label_area_size(LABELS)
        .build_cartesian_2d(0.0..axis.length, values)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .axis_style(GREY.mix(0.8))
        .bold_line_style(GREY.mix(0.3))
        .light_line_style(GREY.mix(0.0))
        .y_labels(labels)
        .x_label_formatter(&|time| axis.label(*time))
        .y_label_formatter(label)
        .label_style(("sans-serif", 15))
        .draw()?;
    Ok(chart)
}

impl Axis {
    fn label(self, time: f64) -> String {
        // As many decimals as tell one label from the next.
        let decimals = (1.0 - self.length.log10().floor()).clamp(0.0, 9.0) as usize;
        format!("{time:.decimals$}")
    }
}

fn draw(height: u32, plot: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        plot(&area)?;
        area.present()?;
    }
    Ok(svg)
}
