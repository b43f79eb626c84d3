//! Plots, as SVG.

use std::path::Path;

use plotters::prelude::*;

use super::{summary::Summary, tables::size};
use crate::{
    outcome::{How, Sustained, Work},
    system::Failure,
};

const PIXELS: (u32, u32) = (760, 420);
/// Room on the right of a plot for the names of its lines, as a factor of the largest x.
const LEGEND_ROOM: f64 = 24.0;

/// A line or a set of bars.
struct Series {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

/// Draws all plots into this folder, and says their names.
pub(super) fn draw(summary: &Summary, folder: &Path) -> Result<Vec<String>, Failure> {
    let mut plots = Vec::new();
    for receivers in summary.receivers() {
        let works = summary.sizes(receivers);
        let by_size = |value: fn(&Sustained) -> f64| {
            let points = |system: &&'static str| Series {
                name: system,
                points: works.iter().filter_map(|work| point(summary, system, *work, value)).collect(),
            };
            summary.systems.iter().map(points).collect::<Vec<_>>()
        };
        let name = format!("rate-{receivers}.svg");
        let title = format!("Payload at each of {receivers} receivers");
        lines(&folder.join(&name), &title, "MB/s", &by_size(|found| found.megabytes_per_s))?;
        plots.push(name);
        let name = format!("cpu-{receivers}.svg");
        let title = format!("Processor time, {receivers} receivers");
        lines(&folder.join(&name), &title, "CPU s per delivered GiB", &by_size(|found| found.cpu_s_per_gib))?;
        plots.push(name);
    }
    let p99 = |system: &str| summary.latency(system).map(|found| found.p99_us);
    plots.extend(bars(summary, folder, "latency.svg", "Latency, 99th percentile", "µs", p99)?);
    for how in [How::Kill, How::Freeze] {
        let (name, title) = (format!("loss-{}.svg", how.name()), format!("Longest gap at a survivor ({})", how.name()));
        let gap = |system: &str| summary.loss(system, how).map(|(found, _)| found.gap_ms);
        plots.extend(bars(summary, folder, &name, &title, "ms", gap)?);
    }
    Ok(plots)
}

fn point(summary: &Summary, system: &str, work: Work, value: fn(&Sustained) -> f64) -> Option<(f64, f64)> {
    Some((work.load().size as f64, value(&summary.sustained(system, work)?)))
}

/// The least and the most of some numbers that are not 0.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| *value > 0.0).map(|value| (value, value)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// Lines over the size of objects, both in powers.
fn lines(path: &Path, title: &str, unit: &str, all: &[Series]) -> Result<(), Failure> {
    let points = || all.iter().flat_map(|series| series.points.iter());
    let (Some(x), Some(y)) = (range(points().map(|point| point.0)), range(points().map(|point| point.1))) else {
        return Ok(());
    };
    let root = SVGBackend::new(path, PIXELS).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d((x.0..x.1 * LEGEND_ROOM).log_scale().base(2.0), (y.0 / 1.5..y.1 * 1.5).log_scale())?;
    let label = |bytes: &f64| size(*bytes as usize);
    chart.configure_mesh().x_desc("object").x_label_formatter(&label).y_desc(unit).light_line_style(WHITE).draw()?;
    for (index, series) in all.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(series.points.iter().copied(), color.stroke_width(2)).point_size(3))?
            .label(series.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    Ok(root.present()?)
}

/// A bar for each system, in powers of ten. The name of the plot, if there was anything to draw.
fn bars(
    summary: &Summary,
    folder: &Path,
    name: &str,
    title: &str,
    unit: &str,
    value: impl Fn(&str) -> Option<f64>,
) -> Result<Option<String>, Failure> {
    let values: Vec<(&str, f64)> =
        summary.systems.iter().filter_map(|system| Some((*system, value(system)?.max(1.0)))).collect();
    let Some((_, most)) = range(values.iter().map(|(_, value)| *value)) else {
        return Ok(None);
    };
    let path = folder.join(name);
    let root = SVGBackend::new(&path, PIXELS).into_drawing_area();
    root.fill(&WHITE)?;
    let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    let label = |place: &SegmentValue<usize>| match place {
        SegmentValue::CenterOf(index) => names.get(*index).map_or_else(String::new, ToString::to_string),
        _ => String::new(),
    };
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d((0..names.len() - 1).into_segmented(), (1.0..most * 2.0).log_scale())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(names.len())
        .x_label_formatter(&label)
        .x_label_style(("sans-serif", 10))
        .y_desc(unit)
        .light_line_style(WHITE)
        .draw()?;
    chart.draw_series(values.iter().enumerate().map(|(index, (_, value))| {
        let corners = [(SegmentValue::Exact(index), 1.0), (SegmentValue::Exact(index + 1), *value)];
        let mut bar = Rectangle::new(corners, Palette99::pick(index).filled());
        bar.set_margin(0, 0, 6, 6);
        bar
    }))?;
    root.present()?;
    drop(chart);
    Ok(Some(name.to_owned()))
}
