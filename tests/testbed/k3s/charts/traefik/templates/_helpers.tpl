{{/*
Copyright (c) flyte.onprem contributors
GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later
*/}}
{{- define "traefik.name" -}}{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}{{- end }}

{{- define "traefik.fullname" -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride }}
{{- else if contains (include "traefik.name" .) .Release.Name -}}{{ .Release.Name }}
{{- else -}}{{ .Release.Name }}-{{ include "traefik.name" . }}
{{- end }}
{{- end }}

{{- define "traefik.serviceAccountName" -}}{{ .Values.serviceAccount.name | default (include "traefik.fullname" .) }}{{- end }}

{{- define "traefik.selector" -}}
app.kubernetes.io/name: {{ include "traefik.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}-{{ .Release.Namespace }}
{{- end }}

{{- define "traefik.labels" -}}
{{ include "traefik.selector" . }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* global.systemDefaultRegistry beats image.registry, as in k3s's repackaging. */ -}}
{{- define "traefik.image" -}}
{{ .Values.global.systemDefaultRegistry | default .Values.image.registry }}/{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* One "- --path=value" for each given setting of a dict; "." is a list of path and value. */ -}}
{{- define "traefik.argument" -}}
{{- $path := index . 0 -}}{{- $value := index . 1 -}}
{{- if and (not (kindIs "invalid" $value)) (ne (toString $value) "") }}
- {{ printf "--%s=%v" $path $value | quote }}
{{- end }}
{{- end }}

{{- define "traefik.arguments" -}}
{{- $ := . -}}
{{- if not .Values.global.checkNewVersion }}
- "--global.checkNewVersion=false"
{{- end }}
{{- if .Values.global.sendAnonymousUsage }}
- "--global.sendAnonymousUsage"
{{- end }}
- "--ping=true"
{{- include "traefik.argument" (list "api.dashboard" .Values.api.dashboard) }}
{{- include "traefik.argument" (list "api.insecure" .Values.api.insecure) }}
{{- with .Values.metrics.prometheus }}
- "--metrics.prometheus=true"
- "--metrics.prometheus.entrypoint={{ .entryPoint }}"
{{- end }}
{{- with .Values.providers.kubernetesIngress }}
{{- if .enabled }}
- "--providers.kubernetesingress"
{{- if .allowExternalNameServices }}
- "--providers.kubernetesingress.allowExternalNameServices=true"
{{- end }}
- "--providers.kubernetesingress.allowEmptyServices={{ .allowEmptyServices }}"
{{- if and .publishedService.enabled (or $.Values.service.enabled .publishedService.pathOverride) }}
- "--providers.kubernetesingress.ingressendpoint.publishedservice={{ .publishedService.pathOverride | default (printf "%s/%s" $.Release.Namespace (include "traefik.fullname" $)) }}"
{{- end }}
{{- include "traefik.argument" (list "providers.kubernetesingress.ingressendpoint.hostname" .ingressEndpoint.hostname) }}
{{- include "traefik.argument" (list "providers.kubernetesingress.ingressendpoint.ip" .ingressEndpoint.ip) }}
{{- include "traefik.argument" (list "providers.kubernetesingress.ingressClass" .ingressClass) }}
{{- include "traefik.argument" (list "providers.kubernetesingress.labelSelector" .labelSelector) }}
{{- with .namespaces }}
- "--providers.kubernetesingress.namespaces={{ join "," . }}"
{{- end }}
{{- if .nativeLBByDefault }}
- "--providers.kubernetesingress.nativeLBByDefault=true"
{{- end }}
{{- if .strictPrefixMatching }}
- "--providers.kubernetesingress.strictPrefixMatching=true"
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $port := .Values.ports }}
{{- if $port }}
{{- $entry := printf "entryPoints.%s" $name }}
- "--{{ $entry }}.address={{ $port.hostIP }}:{{ $port.port }}/tcp"
{{- if $port.asDefault }}
- "--{{ $entry }}.asDefault=true"
{{- end }}
{{- if $port.allowACMEByPass }}
- "--{{ $entry }}.allowACMEByPass=true"
{{- end }}
{{- with $port.http }}
{{- include "traefik.argument" (list (printf "%s.http.maxHeaderBytes" $entry) .maxHeaderBytes) }}
{{- include "traefik.argument" (list (printf "%s.http.sanitizePath" $entry) .sanitizePath) }}
{{- with .middlewares }}
- "--{{ $entry }}.http.middlewares={{ join "," . }}"
{{- end }}
{{- with (.redirections).entryPoint }}
{{- if not (hasKey $.Values.ports .to) }}
{{- fail (printf "ERROR: Cannot redirect %s to %s: entryPoint not found" $name .to) }}
{{- end }}
{{- $to := index $.Values.ports .to }}
{{- if and ((($to.http).tls).enabled) .scheme (ne .scheme "https") }}
{{- fail (printf "ERROR: Cannot redirect %s to %s without setting scheme to https" $name .to) }}
{{- end }}
- "--{{ $entry }}.http.redirections.entryPoint.to=:{{ $to.exposedPort }}"
{{- include "traefik.argument" (list (printf "%s.http.redirections.entryPoint.scheme" $entry) .scheme) }}
{{- include "traefik.argument" (list (printf "%s.http.redirections.entryPoint.priority" $entry) .priority) }}
{{- include "traefik.argument" (list (printf "%s.http.redirections.entryPoint.permanent" $entry) .permanent) }}
{{- end }}
{{- if (.tls).enabled }}
- "--{{ $entry }}.http.tls=true"
{{- include "traefik.argument" (list (printf "%s.http.tls.options" $entry) .tls.options) }}
{{- range $index, $domain := .tls.domains }}
- "--{{ $entry }}.http.tls.domains[{{ $index }}].main={{ $domain.main }}"
{{- with $domain.sans }}
- "--{{ $entry }}.http.tls.domains[{{ $index }}].sans={{ join "," . }}"
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $kind := list "forwardedHeaders" "proxyProtocol" }}
{{- with index $port $kind }}
{{- with .trustedIPs }}
- "--{{ $entry }}.{{ $kind }}.trustedIPs={{ join "," . }}"
{{- end }}
{{- if .insecure }}
- "--{{ $entry }}.{{ $kind }}.insecure"
{{- end }}
{{- end }}
{{- end }}
{{- with $port.transport }}
{{- range $setting := list "readTimeout" "writeTimeout" "idleTimeout" }}
{{- include "traefik.argument" (list (printf "%s.transport.respondingTimeouts.%s" $entry $setting) (index (default dict $port.transport.respondingTimeouts) $setting)) }}
{{- end }}
{{- range $setting := list "requestAcceptGraceTimeout" "graceTimeOut" }}
{{- include "traefik.argument" (list (printf "%s.transport.lifeCycle.%s" $entry $setting) (index (default dict $port.transport.lifeCycle) $setting)) }}
{{- end }}
{{- include "traefik.argument" (list (printf "%s.transport.keepAliveMaxRequests" $entry) .keepAliveMaxRequests) }}
{{- include "traefik.argument" (list (printf "%s.transport.keepAliveMaxTime" $entry) .keepAliveMaxTime) }}
{{- end }}
{{- end }}
{{- end }}
{{- include "traefik.argument" (list "log.format" .Values.logs.general.format) }}
{{- include "traefik.argument" (list "log.filePath" .Values.logs.general.filePath) }}
{{- if .Values.logs.general.noColor }}
- "--log.noColor=true"
{{- end }}
- "--log.level={{ .Values.logs.general.level | upper }}"
{{- if .Values.logs.access.enabled }}
- "--accesslog=true"
{{- include "traefik.argument" (list "accesslog.format" .Values.logs.access.format) }}
{{- end }}
{{- with .Values.additionalArguments }}
{{ toYaml . }}
{{- end }}
{{- end }}
