//! Plots of sweeps, as SVG.

use std::{error::Error, path::Path};

use plotters::prelude::*;

/// One line of a plot.
#[derive(Debug, Clone)]
pub struct Series {
    /// What it shows.
    pub name: String,
    /// Nodes and value.
    pub points: Vec<(f64, f64)>,
}

/// Draws lines over the number of nodes, which grows by factors.
///
/// # Errors
/// What the plotting crate or the disk says.
pub fn over_nodes(path: &Path, title: &str, unit: &str, lines: &[Series]) -> Result<(), Box<dyn Error>> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    let (least, most) = points().fold((f64::MAX, 10.0), |(least, most), (x, _)| (least.min(x), f64::max(most, x)));
    let top = points().map(|(_, y)| y).fold(0.0, f64::max) * 1.1 + 1e-9;
    let root = SVGBackend::new(path, (720, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d((least.max(1.0)..most.max(least + 1.0)).log_scale(), 0.0..top)?;
    chart.configure_mesh().x_desc("nodes").y_desc(unit).light_line_style(WHITE).draw()?;
    for (index, line) in lines.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(2)).point_size(3))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    Ok(root.present()?)
}
