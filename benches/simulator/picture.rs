//! Line charts as SVG: axes, lines, a legend; nothing else is needed.

use std::{fmt::Write as _, fs, io, path::Path};

use super::{
    model::{self, MS, TIMEOUT},
    scenario::Policy,
    tally::Tally,
};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 48.0;
/// Of eight lines, drawn whole, dashed and dotted, told apart by the colour-blind too (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"];

struct Chart<'a> {
    title: &'a str,
    x: (&'a str, f64, f64, Vec<(f64, String)>),
    y: (&'a str, f64, f64, Vec<(f64, String)>),
    /// Whether the height is that of the logarithm.
    is_log: bool,
    /// A line from top to bottom, and what it says.
    mark: Option<(f64, &'a str)>,
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

impl Chart<'_> {
    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (_, x_from, x_to, _) = self.x;
        let (_, y_from, y_to, _) = self.y;
        let up = |y: f64| if self.is_log { y.max(y_from).ln() } else { y };
        let across = (x - x_from) / (x_to - x_from) * (WIDTH - LEFT - RIGHT);
        let height = (up(y) - up(y_from)) / (up(y_to) - up(y_from)) * (HEIGHT - TOP - BOTTOM);
        (LEFT + across, HEIGHT - BOTTOM - height)
    }

    fn svg(&self) -> Result<String, std::fmt::Error> {
        let mut svg = String::new();
        let (right, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>",
            self.title
        )?;
        for (at, text) in &self.y.3 {
            let (_, y) = self.place((self.x.1, *at));
            writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 6.0,
                y + 4.0
            )?;
        }
        for (at, text) in &self.x.3 {
            let (x, _) = self.place((*at, self.y.1));
            writeln!(
                svg,
                "<path d=\"M{x:.1} {floor}v4\" stroke=\"#000\"/>\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                floor + 18.0
            )?;
        }
        writeln!(
            svg,
            "<path d=\"M{LEFT} {TOP}V{floor}H{right}\" fill=\"none\" stroke=\"#000\"/>\n\
             <text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text x=\"14\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {:.1})\">{}</text>",
            f64::midpoint(LEFT, right),
            HEIGHT - 10.0,
            self.x.0,
            f64::midpoint(TOP, floor),
            f64::midpoint(TOP, floor),
            self.y.0
        )?;
        if let Some((at, text)) = self.mark {
            let (x, _) = self.place((at, self.y.1));
            writeln!(
                svg,
                "<path d=\"M{x:.1} {TOP}V{floor}\" stroke=\"#999\" stroke-dasharray=\"4 4\"/>\
                 <text x=\"{:.1}\" y=\"{}\" fill=\"#666\">{text}</text>",
                x + 4.0,
                TOP + 12.0
            )?;
        }
        for (number, (name, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let dash = ["", " stroke-dasharray=\"6 3\"", " stroke-dasharray=\"2 2\""]
                [number / COLOURS.len() % 3];
            let points: Vec<String> = points
                .iter()
                .map(|point| {
                    let (x, y) = self.place(*point);
                    format!("{x:.1},{y:.1}")
                })
                .collect();
            let y = TOP + 10.0 + 18.0 * number as f64;
            writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>\n\
                 <path d=\"M{} {y}h18\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>\
                 <text x=\"{}\" y=\"{}\">{name}</text>",
                points.join(" "),
                right + 12.0,
                right + 36.0,
                y + 4.0
            )?;
        }
        writeln!(svg, "</svg>")?;
        Ok(svg)
    }

    fn write(&self, name: &str) -> io::Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/simulator");
        fs::create_dir_all(&folder)?;
        let svg = self.svg().map_err(io::Error::other)?;
        fs::write(folder.join(name), svg)
    }
}

/// p99 by load, one picture per number of clients.
pub(crate) fn ramps(ramps: &[(u32, Vec<(Policy, Tally)>)]) -> io::Result<()> {
    for (clients, runs) in ramps {
        let p99 = |tally: &Tally| {
            let phases = tally.phases.clone().into_iter().zip(model::RAMP);
            phases.map(|(mut phase, load)| (load, phase.quantile(0.99) as f64)).collect()
        };
        let lines = runs.iter().map(|(policy, tally)| (policy.name(), p99(tally))).collect();
        let ticks = [100, 200, 500, 1_000, 2_000, 5_000];
        let (first, last) = (model::RAMP[0], model::RAMP[model::RAMP.len() - 1]);
        Chart {
            title: &format!("p99 by load: 100 servers, {clients} clients"),
            x: (
                "load, in allotments",
                first,
                last,
                model::RAMP.iter().map(|load| (*load, format!("{load:.2}"))).collect(),
            ),
            y: (
                "p99, ms",
                (100 * MS) as f64,
                TIMEOUT as f64,
                ticks.map(|tick| ((tick * MS) as f64, tick.to_string())).to_vec(),
            ),
            is_log: true,
            mark: Some((model::SATURATION, "all capacity")),
            lines,
        }
        .write(&format!("ramp-{clients}.svg"))?;
    }
    Ok(())
}

/// What of each second's calls succeeded.
pub(crate) fn recovery(curves: &[(String, Vec<(u64, u64)>)]) -> io::Result<()> {
    let curve = |seconds: &[(u64, u64)]| {
        let share = |(all, good): &(u64, u64)| *good as f64 / (*all).max(1) as f64 * 100.0;
        seconds.iter().enumerate().map(|(second, calls)| (second as f64, share(calls))).collect()
    };
    let end = (model::metastable::END / model::S) as f64;
    Chart {
        title: "Calls that succeed: half of the servers gone for 3 s at a load of 0.8",
        x: (
            "seconds",
            0.0,
            end,
            (0..=5)
                .map(|tick| {
                    (f64::from(tick) / 5.0 * end, format!("{:.0}", f64::from(tick) / 5.0 * end))
                })
                .collect(),
        ),
        y: (
            "%",
            0.0,
            100.0,
            (0..=5).map(|tick| (f64::from(tick) * 20.0, (tick * 20).to_string())).collect(),
        ),
        is_log: false,
        mark: Some(((model::metastable::OUTAGE_AT / model::S) as f64, "outage")),
        lines: curves.iter().map(|(name, seconds)| (name.clone(), curve(seconds))).collect(),
    }
    .write("recovery.svg")
}
