//! `info.csv`: what made the archive (TR-03151 v1.0.1 §5.1.1, TR-03151-1 §2.5.3).

use crate::terms::LogFormat;

/// Name of the file.
pub(super) const NAME: &str = "info.csv";

const MANUFACTURER: &str = "Siegel";

/// Version of everything here; says at once what it is not (rule C-9).
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (nicht BSI-zertifiziert)");

/// The components of TR-03151-1, each with what stands for it here.
const COMPONENTS: [(&str, &str); 5] = [
    ("device", "Siegel"),
    ("storage", "Siegel ledger"),
    ("integration-interface", "Siegel SE API"),
    ("CSP", "PKCS#11 token of the operator"),
    ("SMA", "Siegel SMA"),
];

/// The file of a TSS with this description.
pub fn info_csv(format: LogFormat, description: &str) -> Vec<u8> {
    match format {
        LogFormat::V2 => line(&[
            "description:",
            description,
            "manufacturer:",
            MANUFACTURER,
            "version:",
            VERSION,
        ]),
        LogFormat::V3 => {
            let mut text = String::new();
            for (component, model) in COMPONENTS {
                text += &line(&[
                    "component:",
                    component,
                    "manufacturer:",
                    MANUFACTURER,
                    "model:",
                    model,
                    "version:",
                    VERSION,
                    "certification-id:",
                    "",
                ]);
                text.push('\n');
            }
            text + &line(&["description:", description]) + ",,,,,,,,\n"
        }
    }
    .into_bytes()
}

fn line(values: &[&str]) -> String {
    let quoted: Vec<_> = values
        .iter()
        .map(|value| format!("\"{}\"", value.replace('"', "\"\"")))
        .collect();
    quoted.join(",")
}
