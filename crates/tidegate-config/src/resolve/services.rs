//! Services: endpoints, descriptors, connections, TLS.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::auth::KnownProviders;
use super::endpoints::{Written, is_host};
use super::rpc::names_rpc;
use super::{File, Names, Resolver, place_of};
use crate::decode::{Bytes, Field, Item, Name, Text, Time};
use crate::diag::{Code, Place};
use crate::raw::{RawConnections, RawDescriptors, RawPolicy, RawRoute, RawService, RawUpstreamTls};
use crate::valid::{Connections, Descriptors, Endpoint, Keepalive, Service, ServiceProtocol, UpstreamTls};

/// Largest `max_message`: a message is in memory as a whole.
const MAX_MESSAGE: u64 = 1 << 30;
const DEFAULT_MAX_MESSAGE: u64 = 10 << 20;
/// Most connections to one endpoint.
const MAX_CONNECTIONS: u32 = 1024;
const DEFAULT_CONNECTIONS: Connections = Connections {
    min: 1,
    max: 4,
    http1: None,
    keepalive: Some(Keepalive { interval: Duration::from_secs(10), timeout: Duration::from_secs(3) }),
};

/// Connections of HTTP/1.1 that stay where only the most of them is written.
const DEFAULT_KEPT_HTTP1: u32 = 64;

/// Services by name.
pub(super) struct KnownServices<'a> {
    pub(super) names: Names,
    /// What was typed, by index of the service: routes inherit from it.
    pub(super) raw: Vec<&'a RawService>,
    /// What they speak, by index of the service.
    pub(super) protocols: Vec<ServiceProtocol>,
}

impl KnownServices<'_> {
    /// What the service with this index speaks.
    pub(super) fn speaks(&self, service: Option<usize>) -> Option<ServiceProtocol> {
        self.protocols.get(service?).copied()
    }
}

impl Resolver<'_> {
    pub(super) fn services<'f>(
        &mut self,
        files: &'f [File],
        envelopes: &Names,
        providers: &KnownProviders,
        defaults: Option<&RawPolicy>,
    ) -> (Vec<Service>, KnownServices<'f>) {
        let mut known = KnownServices { names: Names::new(), raw: Vec::new(), protocols: Vec::new() };
        let mut services = Vec::new();
        known.names.incomplete = files.iter().any(|file| file.raw.services.is_invalid());
        for (name, value) in files.iter().filter_map(|file| file.raw.services.value()).flat_map(|table| &table.0) {
            if !self.claim("service", name, &mut known.names) {
                continue;
            }
            let Some(raw) = value.value() else { continue };
            self.check_policy(&raw.policy, envelopes);
            self.check_route_access(&raw.policy, providers);
            self.check_limit_names(&raw.policy, defaults);
            let Some(service) = self.service(name, raw, files, defaults) else { continue };
            known.names.set_index(&name.value.0, services.len());
            known.raw.push(raw);
            known.protocols.push(service.protocol);
            services.push(service);
        }
        (services, known)
    }

    fn service(
        &mut self,
        name: &Item<Name>,
        raw: &RawService,
        files: &[File],
        defaults: Option<&RawPolicy>,
    ) -> Option<Service> {
        let endpoints = self.endpoints(name, raw);
        let protocol = self.protocol(name, raw, endpoints.as_deref(), files);
        let descriptors = match protocol {
            Some(ServiceProtocol::Http) => self.no_descriptors(raw),
            Some(ServiceProtocol::Grpc) | None => self.descriptors(raw),
        };
        if let Some(http2) = raw.http2.set()
            && protocol == Some(ServiceProtocol::Grpc)
        {
            let help = "gRPC has no other version; the key is for HTTP services";
            self.error_with(Code::Conflict, &http2.place, "\"http2\" on a gRPC service", help);
        }
        let max_message = self.max_message(&raw.max_message);
        let connect_timeout = self.positive(&raw.connect_timeout, Duration::from_secs(2));
        let connections = match raw.connections.value() {
            None => Some(DEFAULT_CONNECTIONS),
            Some(raw) => self.connections(raw),
        };
        let tls = raw.tls.set().and_then(|item| self.upstream_tls(&item.value, &item.place));
        let resilience = self.resilience(raw, protocol, defaults);
        let endpoints: Vec<Endpoint> = endpoints?.into_iter().map(|(endpoint, _)| endpoint).collect();
        let secure = endpoints.iter().any(|endpoint| endpoint.tls);
        if let Some(place) = place_of(&raw.tls)
            && !secure
        {
            self.warn(
                Code::NoEffect,
                place,
                "no endpoint uses TLS, so \"tls\" does nothing",
                "write grpcs:// or https://",
            );
        }
        Some(Service {
            name: name.value.0.clone(),
            place: name.place.clone(),
            protocol: protocol?,
            http2: raw.http2.value().copied().unwrap_or(false),
            endpoints,
            descriptors: descriptors?,
            descriptors_place: place_of(&raw.descriptors).unwrap_or(&name.place).clone(),
            max_message: max_message?,
            connect_timeout: connect_timeout?,
            connections: connections?,
            resilience: resilience?,
            tls: secure.then(|| tls.unwrap_or_default()),
        })
    }

    /// What the service speaks: as it says, by the schemes of its endpoints, or by the routes that use it.
    fn protocol(
        &mut self,
        name: &Item<Name>,
        raw: &RawService,
        endpoints: Option<&[Written]>,
        files: &[File],
    ) -> Option<ServiceProtocol> {
        if raw.protocol.is_invalid() {
            return None;
        }
        let said = raw.protocol.set();
        let mut schemes = endpoints?.iter().filter_map(|(endpoint, scheme)| Some((endpoint, (*scheme)?)));
        let by_scheme = schemes.next();
        let settled = said.map(|item| item.value).or(by_scheme.map(|(_, protocol)| protocol));
        let other = by_scheme.into_iter().chain(schemes).find(|(_, protocol)| Some(*protocol) != settled);
        if let Some((endpoint, _)) = other {
            let message = "this endpoint does not speak what its service does";
            let help = "a service is either gRPC (grpc://, grpcs://) or HTTP (http://, https://)";
            self.error_with(Code::Conflict, &endpoint.place, message, help);
            return None;
        }
        Some(settled.unwrap_or_else(|| by_routes(&name.value.0, files)))
    }

    fn no_descriptors(&mut self, raw: &RawService) -> Option<Descriptors> {
        let keys = [place_of(&raw.descriptors), place_of(&raw.proto_paths), place_of(&raw.max_message)];
        for place in keys.into_iter().flatten() {
            let help = "it is for services that speak gRPC";
            self.error_with(Code::Conflict, place, "an HTTP service has no messages and no descriptors", help);
        }
        Some(Descriptors::None)
    }

    fn descriptors(&mut self, raw: &RawService) -> Option<Descriptors> {
        let item = match &raw.descriptors {
            Field::Invalid => return None,
            Field::Absent | Field::Null(_) => None,
            Field::Set(item) => Some(item),
        };
        if let Some(place) = place_of(&raw.proto_paths)
            && !matches!(item, Some(Item { value: RawDescriptors::Protos(_), .. }))
        {
            let help = "it belongs to a list of .proto files under \"descriptors\"";
            self.warn(Code::NoEffect, place, "\"proto_paths\" does nothing here", help);
        }
        let Some(item) = item else { return Some(Descriptors::Reflection) };
        match &item.value {
            RawDescriptors::Word(word) => self.descriptor_word(item, word),
            RawDescriptors::Protos(files) if files.is_empty() => {
                self.error(Code::InvalidValue, &item.place, "an empty list of .proto files");
                None
            }
            RawDescriptors::Protos(files) => {
                let files: Vec<PathBuf> = files.iter().map(|file| self.path(file)).collect();
                let include = match raw.proto_paths.value() {
                    Some(folders) => folders.iter().map(|folder| self.path(folder)).collect(),
                    None => folders_of(&files),
                };
                Some(Descriptors::Protos { files, include })
            }
        }
    }

    fn descriptor_word<T>(&mut self, item: &Item<T>, word: &Text) -> Option<Descriptors> {
        match word.0.as_str() {
            "reflection" => Some(Descriptors::Reflection),
            "" => {
                self.error(Code::InvalidValue, &item.place, "an empty file name");
                None
            }
            text if text.ends_with(".proto") => {
                let message = "a .proto file where a descriptor set is expected";
                self.error_with(Code::InvalidValue, &item.place, message, "for .proto files write a list: [FILE]");
                None
            }
            _ => {
                let file = Item { value: word.clone(), place: item.place.clone(), secret: item.secret };
                Some(Descriptors::Set(self.path(&file)))
            }
        }
    }

    fn connections(&mut self, raw: &RawConnections) -> Option<Connections> {
        let min = raw.min.value().map_or(DEFAULT_CONNECTIONS.min, |count| count.0);
        // More than the default of `max` is asked for by `min` alone.
        let max = raw.max.value().map_or(DEFAULT_CONNECTIONS.max.max(min), |count| count.0);
        if let Some(place) = place_of(&raw.min)
            && !(1..=MAX_CONNECTIONS).contains(&min)
        {
            self.error(Code::InvalidValue, place, format!("\"min\" is from 1 to {MAX_CONNECTIONS}"));
            return None;
        }
        if let Some(place) = place_of(&raw.max)
            && !(min..=MAX_CONNECTIONS).contains(&max)
        {
            self.error(Code::InvalidValue, place, format!("\"max\" is from \"min\" ({min}) to {MAX_CONNECTIONS}"));
            return None;
        }
        let http1 = match (raw.min.value(), raw.max.value()) {
            (None, None) => None,
            (Some(_), None) => Some((min, u32::MAX)),
            (None, Some(_)) => Some((DEFAULT_KEPT_HTTP1.min(max), max)),
            (Some(_), Some(_)) => Some((min, max)),
        };
        let keepalive = match &raw.keepalive {
            Field::Null(_) => None,
            Field::Absent | Field::Invalid => DEFAULT_CONNECTIONS.keepalive,
            Field::Set(item) => {
                let interval = self.positive(&item.value.interval, Duration::from_secs(10));
                let timeout = self.positive(&item.value.timeout, Duration::from_secs(3));
                Some(Keepalive { interval: interval?, timeout: timeout? })
            }
        };
        Some(Connections { min, max, http1, keepalive })
    }

    fn upstream_tls(&mut self, raw: &RawUpstreamTls, place: &Place) -> Option<UpstreamTls> {
        let client = match (raw.cert.set(), raw.key.set()) {
            (Some(cert), Some(key)) => Some((self.path(cert), self.path(key))),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                self.error(Code::Conflict, place, "\"cert\" and \"key\" of a client belong together");
                return None;
            }
        };
        if let Some(item) = raw.server_name.set()
            && !is_host(&item.value.0)
        {
            self.error(Code::InvalidValue, &item.place, format!("{} is not a host name", item.shown()));
        }
        let server_name = raw.server_name.value().map(|name| name.0.clone());
        Some(UpstreamTls { ca: raw.ca.set().map(|item| self.path(item)), client, server_name })
    }

    fn max_message(&mut self, field: &Field<Bytes>) -> Option<u64> {
        let Some(item) = field.set() else { return Some(DEFAULT_MAX_MESSAGE) };
        if !(1..=MAX_MESSAGE).contains(&item.value.0) {
            self.error(Code::InvalidValue, &item.place, "\"max_message\" is from 1B to 1GiB");
            return None;
        }
        Some(item.value.0)
    }

    /// A duration that must not be zero.
    pub(super) fn positive(&mut self, field: &Field<Time>, default: Duration) -> Option<Duration> {
        let Some(item) = field.set() else { return Some(default) };
        if item.value.0.is_zero() {
            self.error(Code::InvalidValue, &item.place, "this duration must be above zero");
            return None;
        }
        Some(item.value.0)
    }
}

fn folders_of(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        files.iter().map(|file| file.parent().map(Path::to_path_buf).unwrap_or_default()).collect();
    folders.sort();
    folders.dedup();
    folders
}

/// What a service speaks if nothing else says so: HTTP, if routes use it and none of them names an RPC or passes
/// gRPC through.
fn by_routes(service: &str, files: &[File]) -> ServiceProtocol {
    let routes = files.iter().filter_map(|file| file.raw.routes.value()).flatten().map(|route| &route.value);
    let is_it = |name: &Field<Name>| name.value().is_some_and(|name| name.0 == service);
    let shares = |route: &&RawRoute| {
        let mirrors = route.mirror.value().is_some_and(|mirror| is_it(&mirror.service));
        mirrors || route.split.value().into_iter().flatten().any(|share| is_it(&share.value.service))
    };
    let mut users = routes.filter(|route| is_it(&route.service) || shares(route)).peekable();
    if users.peek().is_some() && users.all(|route| !names_rpc(route) && route.protocol.set().is_none()) {
        return ServiceProtocol::Http;
    }
    ServiceProtocol::Grpc
}
