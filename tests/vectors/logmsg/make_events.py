#!/usr/bin/env python3
"""Writes events.jsonl: our messages in both formats, encoded by hand and without the crate.

Every message is spelled out element by element after the tables of TR-03151, so that the writer of
the crate is compared with something that shares no code with it. Run it in this folder and compare
with `git diff`; the output is deterministic.
"""

import json

SERIAL = bytes(range(0x20))
TIME = 1787078299


def tlv(tag, *parts):
    content = b"".join(p.encode("ascii") if isinstance(p, str) else p for p in parts)
    n = len(content)
    if n < 0x80:
        length = bytes([n])
    elif n < 0x100:
        length = bytes([0x81, n])
    elif n < 0x10000:
        length = bytes([0x82]) + n.to_bytes(2, "big")
    else:
        length = bytes([0x83]) + n.to_bytes(3, "big")
    return bytes([tag]) + length + content


def number(n):
    """Content of an INTEGER: two's complement, minimal."""
    return n.to_bytes(n.bit_length() // 8 + 1, "big", signed=True)


TRUE, FALSE = b"\xff", b"\x00"
seq = lambda *parts: tlv(0x30, *parts)
integer = lambda n: tlv(0x02, number(n))
text = lambda t: tlv(0x13, t)
boolean = lambda b: tlv(0x01, b)
enum = lambda n: tlv(0x0A, bytes([n]))

ALGORITHMS = {
    "ecdsa-plain-SHA256": "04007f00070101040103",
    "ecdsa-plain-SHA384": "04007f00070101040104",
    "ecdsa-plain-SHA512": "04007f00070101040105",
    "ecdsa-plain-SHA3-256": "04007f00070101040109",
    "ecdsa-plain-SHA3-384": "04007f0007010104010a",
    "ecdsa-plain-SHA3-512": "04007f0007010104010b",
}


def signed(version, log, certified, counter, time, algorithm, audit=b""):
    return b"".join([
        integer(version),
        tlv(0x06, bytes.fromhex("04007f0007030701") + bytes([log])),
        certified,
        tlv(0x04, SERIAL),
        seq(tlv(0x06, bytes.fromhex(ALGORITHMS[algorithm]))),
        audit,
        integer(counter),
        integer(time),
    ])


lines = []


def emit(ident, fmt, log, certified, content, name, counter=None, time=TIME,
         algorithm="ecdsa-plain-SHA256", audit=b""):
    counter = counter or len(lines) + 1
    version = {"v2": 2, "v3": 3}[fmt]
    lines.append({
        "id": f"{fmt} {ident}",
        "format": fmt,
        "serial": SERIAL.hex(),
        "algorithm": algorithm,
        "signature_counter": counter,
        "time": time,
        "content": content,
        "file_name": f"Unixt_{time}_Sig-{counter}_Log-{name}.log",
        "signed": signed(version, log, certified, counter, time, algorithm, audit).hex(),
    })


# --- transactions ---------------------------------------------------------------------------------

def transaction(fmt, phase, client, data, kind, n, **more):
    operation = phase + "Transaction" if fmt == "v2" else phase.lower() + "Transaction"
    certified = b"".join([
        tlv(0x80, operation), tlv(0x81, client), tlv(0x82, data), tlv(0x83, kind),
        tlv(0x85, number(n)),
    ])
    content = {"transaction": phase, "client": client, "process_data": data.hex(),
               "process_type": kind, "number": n}
    emit(f"{phase} {len(data)} bytes", fmt, 1, certified, content,
         f"Tra_No-{n}_{phase}_Client-{client}", **more)


for fmt in ["v2", "v3"]:
    transaction(fmt, "Start", "KASSE-1", b"", "", 1)
    transaction(fmt, "Update", "Kasse (Bar) 2+3,=.'", b"\x00" * 127, "Bestellung-V1", 127)
    transaction(fmt, "Finish", "KASSE-1", b"Beleg^0.00_2.55_0.00_0.00_0.00^2.55:Bar",
                "Kassenbeleg-V1", 128, counter=128, time=2**31 - 1)
    transaction(fmt, "Finish", "K" * 70, b"\xff" * 128, "x" * 100, 2**32 - 1, counter=2**32 - 1,
                time=2**31, algorithm="ecdsa-plain-SHA384")
    transaction(fmt, "Finish", "K", b"\x55" * 256, "SonstigerVorgang", 32767, counter=32768, time=0,
                algorithm="ecdsa-plain-SHA512")
    transaction(fmt, "Update", "K", b"\xaa", "SonstigerVorgang", 32768, counter=65536,
                algorithm="ecdsa-plain-SHA3-256")

# --- audit ----------------------------------------------------------------------------------------

record = {"event": "tokenReconnected", "time_of_event": 1787078200,
          "details": [["slot", "7"], ["label", "K\u00e4se"]]}
detail = lambda name, value: seq(text(name), tlv(0x0C, value.encode("utf-8")))
record_der = seq(integer(1), text("tokenReconnected"), integer(1787078200),
                 seq(detail("slot", "7"), detail("label", "K\u00e4se")))
empty_record = {"event": "tokenLost", "time_of_event": 0, "details": []}
empty_der = seq(integer(1), text("tokenLost"), integer(0), seq())
for fmt in ["v2", "v3"]:
    emit("audit", fmt, 3, b"", {"audit": record}, "Aud", audit=tlv(0x04, record_der),
         algorithm="ecdsa-plain-SHA3-384")
    emit("audit without details", fmt, 3, b"", {"audit": empty_record}, "Aud",
         audit=tlv(0x04, empty_der), algorithm="ecdsa-plain-SHA3-512")

# --- system events --------------------------------------------------------------------------------

def system(event, v2=None, v3=None, origin="integration-interface", user="admin"):
    """v2 and v3: (name, content of 81 or A3), None where the format does not know the event."""
    for fmt, form in [("v2", v2), ("v3", v3)]:
        content = {"event": event, "origin": origin, "triggered_by": user}
        if form is None:
            lines.append({"id": f"{fmt} {event['name']} has no form", "format": fmt,
                          "serial": SERIAL.hex(), "algorithm": "ecdsa-plain-SHA256",
                          "signature_counter": 1, "time": TIME, "content": content,
                          "file_name": None, "signed": None})
            continue
        name, data = form
        if fmt == "v2":
            certified = tlv(0x80, name) + tlv(0x81, data)
        else:
            by = tlv(0x82, user) if user else b""
            certified = tlv(0x80, name) + tlv(0x81, origin) + by + tlv(0xA3, data)
        emit(f"{event['name']} {len(lines)}", fmt, 2, certified, content, f"Sys_{name}")


def t2(tag, seconds):
    return tlv(tag, number(seconds))


system({"name": "Initialize", "description": "some description"},
       ("initialize", tlv(0x81, "some description")), ("initialize", b""))
system({"name": "Initialize", "description": ""},
       ("initialize", tlv(0x81, "")), ("initialize", b""))
system({"name": "SetDescription", "description": "Filiale 7 (Nord)"},
       None, ("setDescription", text("Filiale 7 (Nord)")))
system({"name": "SetDescription", "description": ""}, None, ("setDescription", text("")))
system({"name": "UpdateTime", "before": 1632772581, "after": 1632772584},
       ("updateTime", t2(0x81, 1632772581) + t2(0x82, 1632772584)),
       ("updateTime", integer(1632772581) + integer(1632772584)), user=None, origin="SMA")
system({"name": "UpdateTime", "before": 0, "after": 2**31},
       ("updateTime", t2(0x81, 0) + t2(0x82, 2**31)),
       ("updateTime", integer(0) + integer(2**31)))
system({"name": "DisableSecureElement", "time_of_deactivation": 1634636446},
       ("disableSecureElement", t2(0x81, 1634636446)), ("disableSecureElement", b""))

for role, v2role in [("admin", 1), ("logger", 0), ("unauthenticated", 0), (None, 0)]:
    for result, v3result in [("Success", 0), ("UnknownUserId", 1), ("IncorrectPin", 2),
                             ("PinBlocked", 3)]:
        user = role or "nobody"
        ok = TRUE if result == "Success" else FALSE
        retries = {"Success": 5, "UnknownUserId": 0, "IncorrectPin": 128, "PinBlocked": 0}[result]
        system({"name": "AuthenticateUser", "user_id": user, "role": role, "result": result,
                "remaining_retries": retries},
               ("authenticateUser", tlv(0x81, user) + tlv(0x82, bytes([v2role])) + tlv(0x83, ok)),
               ("authenticateUser",
                text(user) + text(role or "unknown") + enum(v3result) + integer(retries)),
               user="unauthenticated")

for cause, v2cause, v3cause, user in [("UserCalledLogOut", 0, 0, "admin"),
                                      ("DifferentUserLoggedIn", 0, 1, None),
                                      ("Timeout", 1, 2, None)]:
    system({"name": "LogOut", "user_id": "admin", "cause": cause},
           ("logOut", tlv(0x81, "admin") + tlv(0x82, bytes([v2cause]))),
           ("logOut", text("admin") + enum(v3cause)), user=user)

for result, v2result, v3result in [("Success", 0, 0), ("UnknownUserId", 2, 1),
                                   ("IncorrectPuk", 1, 2), ("TemporarilyBlocked", 1, 3)]:
    system({"name": "UnblockPin", "user_id": "admin", "result": result},
           ("unblockUser", tlv(0x81, "admin") + tlv(0x82, bytes([v2result]))),
           ("unblockPin", text("admin") + enum(v3result)), user="unauthenticated")

for name, written in [("RegisterClient", "registerClient"), ("DeregisterClient", "deregisterClient")]:
    system({"name": name, "client": "KASSE-1"}, (written, tlv(0x81, "KASSE-1")),
           (written, text("KASSE-1")), user="logger")

system({"name": "StartAudit"}, ("startAudit", b""), ("startAudit", b""), origin="SMA", user=None)
system({"name": "ExitSecureState"}, ("exitSecureState", b""), ("exitSecureState", b""),
       origin="SMA", user=None)
system({"name": "EnterSecureState", "time_of_event": None}, ("enterSecureState", b""),
       ("enterSecureState", b""), origin="SMA", user=None)
system({"name": "EnterSecureState", "time_of_event": 1634636445},
       ("enterSecureState", t2(0x81, 1634636445)), ("enterSecureState", integer(1634636445)),
       origin="SMA", user=None)

switches = [["initialize", True], ["updateTime", False], ["selfTest", True]]
system({"name": "ConfigureLogging", "successful": True, "parameters": switches},
       ("configureLogging",
        tlv(0x81, "SMAERS-audit") + tlv(0x82, TRUE) + tlv(0x83, seq(
            seq(tlv(0x80, "initialize"), tlv(0x81, TRUE)),
            seq(tlv(0x80, "updateTime"), tlv(0x81, FALSE)),
            seq(tlv(0x80, "selfTest"), tlv(0x81, TRUE))))),
       ("configureLogging",
        seq(seq(text("SMA"), boolean(TRUE), seq(
            seq(text("initialize"), boolean(TRUE)),
            seq(text("updateTime"), boolean(FALSE)),
            seq(text("selfTest"), boolean(TRUE)))))),
       origin="SMA", user=None)
system({"name": "ConfigureLogging", "successful": False, "parameters": []},
       ("configureLogging", tlv(0x81, "SMAERS-audit") + tlv(0x82, FALSE)),
       ("configureLogging", seq(seq(text("SMA"), boolean(FALSE), seq()))),
       origin="SMA", user=None)

passed = lambda component: {"component": component, "error_message": None, "time_of_event": None}
system({"name": "SelfTest", "results": [passed("SMA"), passed("CSP")]},
       ("selfTest", tlv(0x81, "SMAERS") + tlv(0x82, TRUE)),
       ("selfTest", seq(seq(text("SMA"), boolean(TRUE)), seq(text("CSP"), boolean(TRUE)))
        + boolean(TRUE)))
system({"name": "SelfTest", "results": [passed("device"), {
           "component": "CSP", "error_message": "token gone", "time_of_event": 1634636445},
           {"component": "storage", "error_message": "full", "time_of_event": None}]},
       ("selfTest", tlv(0x81, "CSP") + tlv(0x82, FALSE) + tlv(0x83, "token gone")
        + t2(0x84, 1634636445)),
       ("selfTest", seq(
           seq(text("device"), boolean(TRUE)),
           seq(text("CSP"), boolean(FALSE), text("token gone"), integer(1634636445)),
           seq(text("storage"), boolean(FALSE), text("full"))) + boolean(FALSE)),
       origin="CSP", user=None)
system({"name": "SelfTest", "results": [
           {"component": "integration-interface", "error_message": None, "time_of_event": 128}]},
       ("selfTest", tlv(0x81, "integration-interface") + tlv(0x82, TRUE) + t2(0x84, 128)),
       ("selfTest", seq(seq(text("integration-interface"), boolean(TRUE), integer(128)))
        + boolean(TRUE)), origin="device")
system({"name": "SelfTest", "results": []}, None, ("selfTest", seq() + boolean(TRUE)),
       origin="storage", user="unauthenticated")

for name, v2name, v3name in [
        ("LockTransactionLogging", "lockTransactionLogging", "lockTransactionLogging"),
        ("UnlockTransactionLogging", "unlockTransactionLogging", "unlockTransactionLogging"),
        ("DeleteLogMessages", "deleteStoredData", "deleteLogMessages")]:
    system({"name": name}, (v2name, tlv(0x81, "admin")), (v3name, b""))
    system({"name": name}, None, (v3name, b""), user=None)

with open("events.jsonl", "w", encoding="utf-8") as out:
    for line in lines:
        out.write(json.dumps(line, ensure_ascii=False) + "\n")
