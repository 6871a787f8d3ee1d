//! librdkafka's errors, said as the log's.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::health::Health;
use crate::error::LogError;

/// What an error code calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nobody answers, or not in time.
    Silent,
    /// We are refused.
    Refused,
    /// The topic or partition is not there.
    Missing,
    /// The record is too large.
    TooLarge,
    /// It may go through later.
    Passing,
    /// It will not.
    Lasting,
}

pub(super) fn kind(code: Code) -> Kind {
    match code {
        Code::BrokerTransportFailure
        | Code::Resolve
        | Code::AllBrokersDown
        | Code::OperationTimedOut
        | Code::MessageTimedOut
        | Code::TimedOutQueue
        | Code::RequestTimedOut
        | Code::NetworkException
        | Code::WaitingForCoordinator => Kind::Silent,
        Code::Authentication
        | Code::SSL
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => Kind::Refused,
        Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition => {
            Kind::Missing
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Kind::TooLarge,
        Code::InvalidRecord
        | Code::InvalidMessage
        | Code::InvalidTimestamp
        | Code::InvalidTopic
        | Code::InvalidConfig
        | Code::InvalidRequest
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidReplicaAssignment
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InconsistentGroupProtocol
        | Code::InvalidArgument
        | Code::PolicyViolation
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedCompressionType
        | Code::UnsupportedForMessageFormat
        | Code::NotImplemented
        | Code::FencedInstanceId
        | Code::GroupMaxSizeReached
        | Code::NonEmptyGroup => Kind::Lasting,
        // Brokers and librdkafka mend the rest: elections, coordinators that move, fenced producers.
        _ => Kind::Passing,
    }
}

/// The code of an error; also of admin operations, for which rdkafka itself tells none.
pub(super) fn code(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// An error of a call about `topic`, if about one.
pub(super) fn fault(
    error: &KafkaError,
    address: &str,
    topic: Option<&str>,
    health: &Health,
) -> LogError {
    match code(error) {
        Some(code) => of_code(code, address, topic, health),
        None => {
            let lasting = matches!(
                error,
                KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_)
            );
            let (address, reason) = (address.to_owned(), error.to_string());
            if lasting {
                LogError::Fatal { address, reason }
            } else {
                LogError::Transient { address, reason }
            }
        }
    }
}

/// The same, of a bare code.
pub(super) fn of_code(code: Code, address: &str, topic: Option<&str>, health: &Health) -> LogError {
    let address = address.to_owned();
    let reason = || match topic {
        Some(topic) => format!("{code} (topic {topic})"),
        None => code.to_string(),
    };
    match (kind(code), topic) {
        (Kind::Silent, _) => match health.refusal() {
            Some(reason) => LogError::Unauthorised { address, reason },
            None => {
                let reason = health.silence().unwrap_or_else(reason);
                LogError::Unreachable { address, reason }
            }
        },
        (Kind::Refused, _) => {
            let reason = health.refusal().unwrap_or_else(reason);
            LogError::Unauthorised { address, reason }
        }
        (Kind::Missing, Some(topic)) => LogError::MissingTopic { address, topic: topic.to_owned() },
        (Kind::TooLarge, Some(topic)) => {
            LogError::TooLarge { topic: topic.to_owned(), bytes: 0, reason: code.to_string() }
        }
        (Kind::Passing, _) => LogError::Transient { address, reason: reason() },
        _ => LogError::Fatal { address, reason: reason() },
    }
}
