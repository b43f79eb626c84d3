//! Samples as a picture: one small chart a figure, over the minutes.

use std::path::Path;

use plotters::prelude::*;

use super::samples::Sample;
use crate::lab::Done;

type Line = (&'static str, fn(&Sample) -> f64);

const CHARTS: [(&str, &[Line]); 5] = [
    (
        "memory, MiB",
        &[
            ("mean of the elders", |sample| sample.rss_elders as f64 / 1048576.0),
            ("most of any node", |sample| sample.rss_max as f64 / 1048576.0),
        ],
    ),
    (
        "open files",
        &[("mean of the elders", |sample| sample.files_elders), ("most of any node", |sample| sample.files_max as f64)],
    ),
    (
        "known peers that are gone (tombstones), and links; means of the elders",
        &[("gone", |sample| sample.tombstones), ("links", |sample| sample.links)],
    ),
    ("from publisher to subscriber, ms", &[("p50", |sample| sample.p50_ms), ("p99", |sample| sample.p99_ms)]),
    (
        "objects lost and doubled, in all",
        &[("lost", |sample| sample.lost as f64), ("doubled", |sample| sample.doubled as f64)],
    ),
];

/// Draws all figures, one above the other.
pub(super) fn draw(path: &Path, samples: &[Sample]) -> Done {
    let root = SVGBackend::new(path, (900, 1100)).into_drawing_area();
    root.fill(&WHITE)?;
    let minutes = samples.last().map_or(1.0, |sample| (sample.seconds / 60.0).max(0.1));
    for (area, (title, lines)) in root.split_evenly((CHARTS.len(), 1)).into_iter().zip(CHARTS) {
        let values = lines.iter().flat_map(|(_, value)| samples.iter().map(value));
        let top = values.fold(0.0, f64::max) * 1.15 + 1e-9;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..minutes, 0.0..top.max(1.0))?;
        chart.configure_mesh().x_desc("minutes").max_light_lines(0).draw()?;
        for (index, (name, value)) in lines.iter().enumerate() {
            let color = Palette99::pick(index).to_rgba();
            let points = samples.iter().map(|sample| (sample.seconds / 60.0, value(sample)));
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(1)))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    }
    Ok(root.present()?)
}
