//! Devices that no TSS is made of, because their keys do not sign or have signed already.

use super::signed::BadDevice;
use crate::ledger::{ActiveToken, Batch, LaneLedger, TssBatch, WithheldDevices};
use crate::terms::{SerialNumber, chain};

/// Those of one lane. The ledger gives none of them to any lane of this process.
pub(super) struct BadDevices {
    withheld: WithheldDevices,
    /// The ledger has not been told yet.
    untold: Vec<BadDevice>,
    /// Only the standby that was active lacks their keys; another switch is another question.
    of_standby: Vec<(SerialNumber, ActiveToken)>,
}

impl BadDevices {
    pub const fn new(withheld: WithheldDevices) -> Self {
        Self {
            withheld,
            untold: Vec::new(),
            of_standby: Vec::new(),
        }
    }

    /// From now on they are given to nobody.
    pub fn take(&mut self, bad: Vec<BadDevice>) {
        for bad in bad {
            self.withheld.withhold(bad.device);
            match bad.standby {
                Some(active) => self.of_standby.push((bad.device, active)),
                None => self.untold.push(bad),
            }
        }
    }

    /// To the ledger the devices of this batch look free until it is committed; their keys have signed already.
    pub fn withhold_used(&self, batch: &Batch) {
        let used = batch.entries.iter().filter_map(TssBatch::new_device);
        used.for_each(|device| self.withheld.withhold(device));
    }

    /// The ledger knows by now what became of them.
    pub fn release_used(&self, batch: &Batch) {
        let used = batch.entries.iter().filter_map(TssBatch::new_device);
        used.for_each(|device| self.withheld.release(device));
    }

    /// What a standby lacked may be had since somebody has switched. `active` tells for the label of a token which
    /// section signs, as far as this node knows.
    pub fn look_for_switches<'t>(&mut self, active: impl Fn(&str) -> Option<&'t str>) {
        let withheld = &self.withheld;
        self.of_standby.retain(|(device, then)| {
            let has_switched = active(&then.label).is_some_and(|now| now != then.section);
            if has_switched {
                withheld.release(*device);
            }
            !has_switched
        });
    }

    /// Where the ledger does not take it, the device stays withheld, and the next batch tries again.
    pub fn tell(&mut self, ledger: &mut dyn LaneLedger) {
        let withheld = &self.withheld;
        self.untold.retain(
            |bad| match ledger.set_device_aside(bad.device, bad.reason) {
                Ok(()) => {
                    withheld.release(bad.device);
                    false
                }
                Err(error) => {
                    tracing::error!(
                        device = %bad.device, error = %chain(&error),
                        "device {} could not be marked as unusable yet", bad.device
                    );
                    true
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_standby_lacks_is_free_again_once_somebody_has_switched() {
        let withheld = WithheldDevices::default();
        let mut bad = BadDevices::new(withheld.clone());
        let device = SerialNumber::of_public_point(&[7; 65]);
        let standby = ActiveToken {
            label: "main".to_owned(),
            section: "spare".to_owned(),
            epoch: 2,
        };
        bad.take(vec![BadDevice {
            device,
            reason: "its key is not in the token",
            standby: Some(standby),
        }]);
        let others = |label: &str| (label == "another").then_some("its-spare");
        bad.look_for_switches(others);
        bad.look_for_switches(|_| Some("spare"));
        assert!(withheld.all().contains(&device));
        bad.look_for_switches(|_| Some("main"));
        assert!(withheld.all().is_empty());
    }
}
