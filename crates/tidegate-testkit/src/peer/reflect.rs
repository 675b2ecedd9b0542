//! Server reflection from a descriptor set: every question about a file is answered with all files.

use prost::Message as _;
use prost_reflect::DescriptorPool;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest as Question;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse as Answer;
use tonic_reflection::pb::v1::{
    ErrorResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest, ServerReflectionResponse,
    ServiceResponse,
};

/// What a server tells about itself.
#[derive(Debug)]
pub(super) struct Reflected {
    files: Vec<Vec<u8>>,
    services: Vec<String>,
}

/// A `FileDescriptorSet` whose files stay encoded, so that their options do.
#[derive(prost::Message)]
struct Set {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

impl Reflected {
    pub(super) fn new(set: &[u8]) -> Self {
        let pool = DescriptorPool::decode(set).expect("a complete set");
        let services = pool.services().map(|service| service.full_name().to_owned()).collect();
        Self { files: Set::decode(set).expect("a set").file, services }
    }

    /// The answer to one encoded question, encoded.
    pub(super) fn answer(&self, question: &[u8]) -> Vec<u8> {
        let request = ServerReflectionRequest::decode(question).expect("a question");
        let answer = match request.message_request {
            Some(Question::ListServices(_)) => {
                let service = |name: &String| ServiceResponse { name: name.clone() };
                Answer::ListServicesResponse(ListServiceResponse {
                    service: self.services.iter().map(service).collect(),
                })
            }
            Some(Question::FileContainingSymbol(_) | Question::FileByFilename(_)) => {
                Answer::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto: self.files.clone() })
            }
            _ => Answer::ErrorResponse(ErrorResponse { error_code: 12, error_message: String::new() }),
        };
        let response =
            ServerReflectionResponse { message_response: Some(answer), ..ServerReflectionResponse::default() };
        response.encode_to_vec()
    }
}
