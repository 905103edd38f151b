//! What the ledger, and everybody who was answered, is asked afterwards.

use super::chaos::{Fault, Seam};
use super::disk::Disk;
use super::ports::lock;
use super::script;
use super::token::verifies;
use super::world::World;
use crate::asn1;
use crate::csp::KeyPair;
use crate::ledger::SignedKind;
use crate::signing::SigningError;
use crate::sma::{Outcome, Tss};
use crate::terms::TssId;
use sha2::{Digest as _, Sha256};

impl World {
    /// Asks for everything again that was answered: the same answers, and no signature.
    fn ask_again(&mut self) {
        let before = self.shared.signatures_made();
        for ((tss, id, revision), (step, command)) in self.answered.clone() {
            let node = self.any_node();
            match self.ask(node, tss, &command) {
                Some(Ok(Outcome::Transaction(outcome))) if outcome.2 == step => {}
                other => self.complaints.push(format!(
                    "TSS {tss}: {id} {revision} asked again is answered {other:?}"
                )),
            }
        }
        for tss in 0..self.plan.tss {
            for refused in script::refused(tss) {
                let node = self.any_node();
                let answer = self.ask(node, script::tss(tss), &refused);
                if !matches!(answer, Some(Err(SigningError::Rejected(_)))) {
                    self.complaints
                        .push(format!("{refused:?} is answered {answer:?}"));
                }
            }
        }
        if self.shared.signatures_made() != before {
            self.complaints
                .push("a repeat or a refusal was signed".to_owned());
        }
    }

    /// Everything that is not as it must be.
    pub fn complaints(&mut self) -> Vec<String> {
        self.ask_again();
        let mut complaints = std::mem::take(&mut self.complaints);
        let disk = self.shared.disk();
        complaints.extend(disk.complaints(verifies));
        for ((tss, id, revision), (step, _)) in &self.answered {
            let mut complain = |text| complaints.push(format!("TSS {tss}: {id} {revision} {text}"));
            let stored = disk.steps.get(&(*tss, step.number, step.revision));
            if stored != Some(step) {
                complain("was answered and is not there, or is another");
            }
            let message = disk.messages.get(&(*tss, step.signature_counter));
            let read = message.and_then(|kept| asn1::read(&kept.der).ok());
            if read.is_none_or(|read| read.signature != step.signature) {
                complain("was answered with a signature that is not kept");
            }
        }
        for (tss, fact) in &self.facts {
            if !fact.holds(*tss, &disk) {
                complaints.push(format!("TSS {tss}: {fact:?} was answered and is not so"));
            }
        }
        if self.plan.nodes == 1 && disk.devices_lost > 0 {
            complaints.push("a device that was in use was given away".to_owned());
        }
        let wasted = self.wasted(&disk);
        if wasted > 0 && self.must_waste_nothing() {
            complaints.push(format!("{wasted} signatures were made and not kept"));
        }
        complaints
    }

    /// Signatures that are in no message.
    pub fn wasted(&self, disk: &Disk) -> usize {
        let mut signed = lock(&self.shared.signed).clone();
        for kept in disk.messages.values() {
            if let Ok(message) = asn1::read(&kept.der) {
                signed.remove(Sha256::digest(&kept.der[message.signed_range]).as_slice());
            }
        }
        signed.len()
    }

    /// A signature may be lost with its process, by a panic, or because another one of its TSS failed;
    /// with several nodes also when one went on (with the TSS, or with the device of one that
    /// was to be created) while the other could not commit. Else every signature is kept.
    fn must_waste_nothing(&self) -> bool {
        let chaos = lock(&self.shared.chaos);
        let is_alone = self.nodes.len() == 1;
        let harmless = |fault: &Fault| {
            matches!(
                fault,
                Fault::RolledBack | Fault::UnknownLost | Fault::UnknownKept | Fault::UnknownLate
            ) && is_alone
        };
        let mut happened = chaos.happened.iter();
        !self.restarted
            && happened.all(|(seam, _, fault)| match seam {
                Seam::Sign => false,
                Seam::Lock | Seam::Message => {
                    *fault == Fault::Refused || *fault == Fault::AnswerLost
                }
                Seam::Clock => false,
                Seam::Commit => harmless(fault),
            })
    }
}

impl Disk {
    /// The three questions, and what belongs to them. Every complaint is a sentence.
    pub fn complaints(&self, verifies: impl Fn(&KeyPair, &[u8], &[u8]) -> bool) -> Vec<String> {
        let mut complaints = self.attempts.clone();
        for (id, tss) in &self.tss {
            self.check_history(*id, tss, &verifies, &mut complaints);
        }
        complaints
    }

    fn check_history(
        &self,
        id: TssId,
        tss: &Tss,
        verifies: &impl Fn(&KeyPair, &[u8], &[u8]) -> bool,
        complaints: &mut Vec<String>,
    ) {
        let mut complain = |text: String| complaints.push(format!("TSS {id}: {text}"));
        let Some(device) = self.device(tss.device.serial_number) else {
            return complain("it has no device".to_owned());
        };
        let mut expected = device.device.signature_counter;
        let mut last_time = 0;
        let mut numbers = Vec::new();
        let own = self.messages.iter().filter(|((owner, _), _)| *owner == id);
        for ((_, counter), kept) in own {
            expected = expected.next().unwrap();
            if *counter != expected {
                return complain(format!("counter {counter} stands where {expected} belongs"));
            }
            let message = match asn1::read(&kept.der) {
                Ok(message) => message,
                Err(error) => return complain(format!("message {counter} is none: {error}")),
            };
            if message.signature_counter != counter.value()
                || message.serial_number != tss.device.serial_number
            {
                complain(format!("message {counter} says something else"));
            }
            if !verifies(
                &device.key,
                &kept.der[message.signed_range.clone()],
                &message.signature,
            ) {
                complain(format!("message {counter} does not verify"));
            }
            let asn1::LogTime::Unix(time) = message.time else {
                return complain(format!("message {counter} has another form of time"));
            };
            if time < last_time {
                complain(format!("message {counter} goes back in time"));
            }
            last_time = time;
            if let asn1::ReadKind::Transaction {
                transaction_number, ..
            } = message.kind
            {
                numbers.push(transaction_number);
                if matches!(&kept.kind, SignedKind::Transaction { number, .. }
                    if number.value() != transaction_number)
                {
                    complain(format!("message {counter} is of another transaction"));
                }
            }
        }
        if expected != tss.device.signature_counter {
            complain(format!(
                "it stands at {} after {expected}",
                tss.device.signature_counter
            ));
        }
        let mut distinct = Vec::new();
        for number in &numbers {
            if !distinct.contains(number) {
                distinct.push(*number);
            }
        }
        let in_order: Vec<u64> = (1..=tss.transaction_counter.value()).collect();
        if distinct != in_order {
            complain(format!(
                "transaction numbers {distinct:?} are not {in_order:?}"
            ));
        }
        let steps = self.steps.keys().filter(|(owner, ..)| *owner == id).count();
        if steps != numbers.len() {
            complain(format!("{steps} steps have {} messages", numbers.len()));
        }
    }
}
