//! The tables as Diesel sees them; the same on both databases (`migrations/`).

diesel::table! {
    ledger_meta (name) {
        name -> Text,
        value -> Text,
    }
}

diesel::table! {
    organization (id) {
        id -> Text,
        name -> Text,
        time_creation -> BigInt,
        managed_by -> Nullable<Text>,
        created_by -> Nullable<Text>,
        details -> Text,
        metadata -> Text,
    }
}

diesel::table! {
    api_key (key) {
        key -> Text,
        organization_id -> Text,
        environment -> Text,
        name -> Text,
        secret_sha256 -> Binary,
        status -> Text,
        time_creation -> BigInt,
        managed_by -> Nullable<Text>,
        created_by -> Nullable<Text>,
        metadata -> Text,
    }
}

diesel::table! {
    token_secret (id) {
        id -> Text,
        sealed -> Binary,
        time_creation -> BigInt,
        used_until -> BigInt,
    }
}

diesel::table! {
    login_failure (subject) {
        subject -> Text,
        failures -> BigInt,
        time_last -> BigInt,
    }
}

diesel::table! {
    login_session (id) {
        id -> Text,
        api_key -> Text,
        time_issued -> BigInt,
        access_expires -> BigInt,
        refresh_expires -> BigInt,
        secret_id -> Text,
    }
}

diesel::table! {
    ca (serial_number) {
        serial_number -> Text,
        environment -> Text,
        role -> Text,
        issuer -> Text,
        token -> Nullable<Text>,
        key_id -> Nullable<Text>,
        key_curve -> Nullable<Text>,
        key_point -> Nullable<Binary>,
        certificate -> Binary,
    }
}

diesel::table! {
    device_request (serial_number) {
        serial_number -> Text,
        environment -> Text,
        token -> Text,
        key_id -> Text,
        key_curve -> Text,
        key_point -> Binary,
        algorithm -> Text,
        signature_counter -> BigInt,
        request -> Binary,
        time_creation -> BigInt,
        unusable_reason -> Nullable<Text>,
    }
}

diesel::table! {
    lost_key (serial_number) {
        serial_number -> Text,
        tss_id -> Text,
        token -> Nullable<Text>,
        signature_counter -> BigInt,
        spent -> BigInt,
        time_found -> BigInt,
        time_decided -> Nullable<BigInt>,
    }
}

diesel::table! {
    device (serial_number) {
        serial_number -> Text,
        environment -> Text,
        token -> Text,
        key_id -> Text,
        key_curve -> Text,
        key_point -> Binary,
        algorithm -> Text,
        signature_counter -> BigInt,
        certificate -> Binary,
        issuer -> Text,
        certificate_not_after -> BigInt,
        time_creation -> BigInt,
        tss_id -> Nullable<Text>,
        unusable_reason -> Nullable<Text>,
    }
}

diesel::table! {
    token_pair (label) {
        label -> Text,
        active -> Text,
        epoch -> BigInt,
        time_switch -> BigInt,
    }
}

diesel::table! {
    tss (id) {
        id -> Text,
        organization_id -> Text,
        environment -> Text,
        format -> Text,
        device_serial -> Text,
        signature_counter -> BigInt,
        state -> Text,
        description -> Text,
        transaction_counter -> BigInt,
        last_se_time -> BigInt,
        clients_registered -> BigInt,
        transactions_open -> BigInt,
        admin_salt -> Binary,
        admin_pin -> Nullable<Binary>,
        admin_pin_retries -> BigInt,
        admin_puk -> Binary,
        admin_puk_failures -> BigInt,
        admin_puk_blocked_until -> BigInt,
        admin_sealed_puk -> Nullable<Binary>,
        admin_session -> Nullable<Text>,
        metadata -> Text,
        time_creation -> BigInt,
        time_uninit -> Nullable<BigInt>,
        time_init -> Nullable<BigInt>,
        time_disable -> Nullable<BigInt>,
        time_defective -> Nullable<BigInt>,
        hold_reason -> Nullable<Text>,
        hold_counter -> Nullable<BigInt>,
        hold_transaction -> Nullable<BigInt>,
        hold_since -> Nullable<BigInt>,
        hold_scope -> Nullable<Text>,
        settled_counter -> BigInt,
    }
}

diesel::table! {
    lease (name) {
        name -> Text,
        holder -> Text,
        expires -> BigInt,
    }
}

diesel::table! {
    node (id) {
        id -> Text,
        compared -> Text,
        time_seen -> BigInt,
    }
}

diesel::table! {
    client (id) {
        id -> Text,
        tss_id -> Text,
        serial -> Text,
        state -> Text,
        time_creation -> BigInt,
        time_update -> BigInt,
        metadata -> Text,
    }
}

diesel::table! {
    tss_transaction (tss_id, number) {
        tss_id -> Text,
        number -> BigInt,
        id -> Text,
        state -> Text,
        latest_revision -> BigInt,
        client_id -> Text,
        time_start -> BigInt,
        time_end -> Nullable<BigInt>,
        metadata -> Text,
    }
}

diesel::table! {
    transaction_step (tss_id, transaction_number, revision) {
        tss_id -> Text,
        transaction_number -> BigInt,
        revision -> BigInt,
        state -> Text,
        phase -> Text,
        client_id -> Text,
        client_serial -> Text,
        schema_form -> Nullable<Text>,
        schema_process_type -> Nullable<Text>,
        schema_process_data -> Nullable<Binary>,
        schema_echo -> Nullable<Text>,
        process_type -> Text,
        process_data -> Binary,
        request_digest -> Binary,
        metadata_digest -> Nullable<Binary>,
        signature_counter -> BigInt,
        log_time -> BigInt,
        signature -> Binary,
    }
}

diesel::table! {
    log_message (tss_id, signature_counter) {
        tss_id -> Text,
        signature_counter -> BigInt,
        kind -> Text,
        log_time -> BigInt,
        transaction_number -> Nullable<BigInt>,
        revision -> Nullable<BigInt>,
        client_id -> Nullable<Text>,
        client_serial -> Nullable<Text>,
        file_name -> Text,
        der -> Binary,
    }
}

diesel::table! {
    export (tss_id, id) {
        tss_id -> Text,
        id -> Text,
        state -> Text,
        filter -> Text,
        counter_first -> Nullable<BigInt>,
        counter_last -> Nullable<BigInt>,
        client_id -> Nullable<Text>,
        transaction_first -> Nullable<BigInt>,
        transaction_last -> Nullable<BigInt>,
        time_first -> Nullable<BigInt>,
        time_last -> Nullable<BigInt>,
        messages -> Nullable<BigInt>,
        messages_max -> BigInt,
        counter_at_request -> BigInt,
        time_request -> BigInt,
        info_csv -> Binary,
        certificates -> Text,
        time_start -> Nullable<BigInt>,
        time_end -> Nullable<BigInt>,
        time_expiration -> Nullable<BigInt>,
        time_error -> Nullable<BigInt>,
        exception -> Nullable<Text>,
        metadata -> Text,
    }
}

diesel::table! {
    wrapped_key (key_id) {
        key_id -> Text,
        token -> Text,
        kek_id -> Text,
        mechanism -> Text,
        blob -> Binary,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    client,
    device,
    device_request,
    export,
    token_pair,
    transaction_step,
    tss,
    tss_transaction,
);
