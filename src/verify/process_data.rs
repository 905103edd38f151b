//! The form of processData (DSFinV-K Anhang I), as a check from the outside: a device signs whatever a
//! till sends, so nothing here has to do with signatures.

use std::cmp::Ordering;

const TAX_SLOTS: usize = 5;

/// The reason why processData is not in the form that its processType demands, or `None` when it is.
pub(super) fn deviation(process_type: &str, process_data: &str) -> Option<&'static str> {
    match process_type {
        "Kassenbeleg-V1" => receipt(process_data).err(),
        "Bestellung-V1" => order(process_data).err(),
        "SonstigerVorgang" => None,
        _ => Some("this processType is none of DSFinV-K"),
    }
}

/// `Vorgangstyp^five amounts^payments`
fn receipt(text: &str) -> Result<(), &'static str> {
    let mut parts = text.split('^');
    let (Some(kind), Some(taxes), Some(payments), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("a receipt has three parts with ^ between them");
    };
    let may_be_paid = match kind {
        "Beleg" | "AVTraining" => true,
        "AVRechnung" | "AVTransfer" | "AVBestellung" | "AVBelegabbruch" | "AVSachbezug"
        | "AVSonstige" => false,
        _ => return Err("an unknown kind of receipt, or one that cannot be secured"),
    };
    let slots: Vec<_> = taxes.split('_').collect();
    if slots.len() != TAX_SLOTS || !slots.iter().all(|slot| is_amount(slot)) {
        return Err("a receipt has five amounts of two decimals, without -0.00");
    }
    if payments.is_empty() {
        return Ok(());
    }
    if !may_be_paid {
        return Err("this kind of receipt has no payments");
    }
    let payments: Vec<_> = payments.split('_').map(payment).collect::<Option<_>>().ok_or(
        "a payment is AMOUNT:Bar or AMOUNT:Unbar, with :CUR for a foreign currency, and not zero",
    )?;
    let ascends = payments
        .iter()
        .zip(payments.iter().skip(1))
        .all(|(one, next)| one.cmp(next) == Ordering::Less);
    if !ascends {
        return Err("payments stand once each, cash first, then by currency");
    }
    Ok(())
}

/// Kind and currency in the order of the list: `Bar` before `Unbar`, no code before codes.
fn payment(text: &str) -> Option<(bool, &str)> {
    let (amount, rest) = text.split_once(':')?;
    let (kind, currency) = match rest.split_once(':') {
        Some((kind, currency)) => (kind, Some(currency)),
        None => (rest, None),
    };
    let is_cashless = match kind {
        "Bar" => false,
        "Unbar" => true,
        _ => return None,
    };
    let code_fits = currency.is_none_or(|code| {
        code.len() == 3 && code != "EUR" && code.bytes().all(|byte| byte.is_ascii_uppercase())
    });
    let fits = is_amount(amount) && !is_zero(amount) && code_fits;
    fits.then_some((is_cashless, currency.unwrap_or_default()))
}

/// `["-"] 1*DIGIT "." 2DIGIT`, but not `-0.00`.
fn is_amount(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let fits = unsigned
        .split_once('.')
        .is_some_and(|(whole, cents)| digits(whole) && cents.len() == 2 && digits(cents));
    fits && !(text.starts_with('-') && is_zero(unsigned))
}

fn is_zero(amount: &str) -> bool {
    amount
        .bytes()
        .all(|byte| matches!(byte, b'0' | b'.' | b'-'))
}

/// Lines `quantity;"text";amount` with CR between them, none after the last.
fn order(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Ok(());
    }
    let fits = text.split('\r').all(|line| order_line(line).is_some());
    fits.then_some(())
        .ok_or("an order has lines of QUANTITY;\"TEXT\";PRICE with CR between them")
}

fn order_line(line: &str) -> Option<()> {
    let (quantity, rest) = line.split_once(";\"")?;
    let (text, price) = rest.rsplit_once("\";")?;
    // Quotes within the text are doubled.
    let single_quote_left = text.replace("\"\"", "").contains('"');
    let fits =
        is_quantity(quantity) && !single_quote_left && !text.contains('\n') && is_amount(price);
    fits.then_some(())
}

/// Digits with at most three decimals, the last of them not zero.
fn is_quantity(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    match unsigned.split_once('.') {
        None => digits(unsigned),
        Some((whole, decimals)) => {
            digits(whole) && digits(decimals) && decimals.len() <= 3 && !decimals.ends_with('0')
        }
    }
}

#[cfg(test)]
mod tests;
