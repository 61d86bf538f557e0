{{- /*
Copyright (c) flyte.onprem contributors
GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
SPDX-License-Identifier: GPL-3.0-or-later
*/}}
{{/* The files of /etc/flyte/config.d, each as a map that its caller prints. */}}

{{- define "flyte.config.core" -}}
{{- $name := include "flyte.fullname" . }}
{{- with .Values.configuration }}
{{- $admin := dict "endpoint" "localhost:8089" "insecure" true }}
{{- if .auth.enabled }}
{{- $_ := set $admin "clientId" .auth.internal.clientId }}
{{- with .auth.internal.audience }}{{ $_ := set $admin "audience" . }}{{ end }}
{{- end }}
{{- $propeller := dict "create-flyteworkflow-crd" .propeller.createCRDs }}
{{- if .propeller.literalOffloadingConfigEnabled }}
{{- $_ := set $propeller "literal-offloading-config" (dict "enabled" true) }}
{{- end }}
admin: {{ toYaml $admin | nindent 2 }}
catalog-cache:
  type: datacatalog
  endpoint: localhost:8081
  insecure: true
cluster_resources:
  templatePath: /etc/flyte/cluster-resource-templates
  standaloneDeployment: false
logger:
  level: {{ .logging.level | default 1 }}
  show-source: true
propeller: {{ toYaml $propeller | nindent 2 }}
webhook:
  secretName: {{ $name }}-webhook-secret
  serviceName: {{ $name }}-webhook
  servicePort: 443
  certDir: /var/run/flyte/certs
  localCert: true
{{- end }}
flyte: {{ include "flyte.tpl" (dict "root" $ "value" (index .Values "flyte-core-components")) | nindent 2 }}
{{- end }}

{{/* Which log links a task gets. */}}
{{- define "flyte.config.logLinks" -}}
{{- range $plugin := list "kubernetes" "cloudwatch" "stackdriver" }}
{{- $setting := index $.Values.configuration.logging.plugins $plugin }}
{{ $plugin }}-enabled: {{ $setting.enabled }}
{{- if $setting.enabled }}
{{ $plugin }}-template-uri: {{ required (printf "configuration.logging.plugins.%s.templateUri is required with enabled: true" $plugin) $setting.templateUri }}
{{- end }}
{{- end }}
{{- with .Values.configuration.logging.plugins.custom }}
templates: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "flyte.config.plugins" -}}
tasks: {{ toYaml .Values.enabled_plugins.tasks | nindent 2 }}
plugins:
  logs: {{ include "flyte.config.logLinks" . | nindent 4 }}
  k8s:
    co-pilot:
      {{- with (index .Values.configuration "co-pilot").image }}
      image: {{ printf "%s:%s" .repository .tag | quote }}
      {{- end }}
  k8s-array:
    logs:
      config: {{ include "flyte.config.logLinks" . | nindent 8 }}
{{- end }}

{{- define "flyte.config.database" -}}
database:
  postgres:
    {{- with .Values.configuration.database }}
    host: {{ tpl .host $ }}
    port: {{ .port }}
    dbname: {{ .dbname }}
    username: {{ .username }}
    options: {{ .options | quote }}
    {{- with .passwordPath }}
    passwordPath: {{ . }}
    {{- end }}
    {{- end }}
{{- end }}

{{/* Kind, URL scheme and settings of the object store. */}}
{{- define "flyte.config.store" -}}
{{- with .Values.configuration.storage }}
{{- if eq .provider "s3" }}
kind: s3
{{- with .providerConfig.s3 }}
{{- if not (has .authType (list "iam" "accesskey")) }}
{{- fail (printf "configuration.storage.providerConfig.s3.authType is iam or accesskey, not %s" .authType) }}
{{- end }}
config:
  region: {{ required "configuration.storage.providerConfig.s3.region is required with provider s3" .region }}
  disable_ssl: {{ .disableSSL }}
  v2_signing: {{ .v2Signing }}
  auth_type: {{ .authType }}
  {{- with .endpoint }}
  endpoint: {{ tpl . $ }}
  {{- end }}
{{- end }}
{{- else if eq .provider "gcs" }}
kind: google
config:
  json: ""
  project_id: {{ required "configuration.storage.providerConfig.gcs.project is required with provider gcs" .providerConfig.gcs.project }}
  scopes: https://www.googleapis.com/auth/cloud-platform
{{- else if eq .provider "azure" }}
kind: azure
{{- with .providerConfig.azure }}
config:
  account: {{ .account }}
  {{- range $key := list "key" "configDomainSuffix" "configUploadConcurrency" }}
  {{- with get $.Values.configuration.storage.providerConfig.azure $key }}
  {{ $key }}: {{ . }}
  {{- end }}
  {{- end }}
{{- end }}
{{- else }}
{{- fail (printf "configuration.storage.provider is s3, gcs or azure, not %s" .provider) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "flyte.config.storage" -}}
{{- with .Values.configuration.storage }}
{{- $scheme := get (dict "s3" "s3" "gcs" "gs" "azure" "abfs") .provider }}
propeller:
  rawoutput-prefix: {{ $scheme }}://{{ required "configuration.storage.userDataContainer is required" .userDataContainer }}/data
storage:
  type: stow
  stow: {{ include "flyte.config.store" $ | nindent 4 }}
  container: {{ required "configuration.storage.metadataContainer is required" .metadataContainer }}
{{- end }}
{{- end }}

{{/* A client that logs in from a user's own machine. */}}
{{- define "flyte.config.userClient" -}}
id: {{ . }}
public: true
grant_types: [refresh_token, authorization_code]
response_types: [code, token]
scopes: [all, offline, access_token]
redirect_uris: ["http://localhost:53593/callback", "http://localhost:12345/callback"]
{{- end }}

{{- define "flyte.config.auth" -}}
{{- $name := include "flyte.fullname" . }}
server:
  security:
    useAuth: true
auth:
  {{- with .Values.configuration.auth }}
  appAuth:
    {{- if .enableAuthServer }}
    selfAuthServer:
      staticClients:
        flytepropeller:
          id: flytepropeller
          grant_types: [refresh_token, client_credentials]
          response_types: [token]
          scopes: [all, offline, access_token]
        {{- range list "flyte-cli" "flytectl" }}
        {{ . }}: {{ include "flyte.config.userClient" . | nindent 10 }}
        {{- end }}
    {{- end }}
    thirdPartyConfig:
      flyteClient: {{ toYaml .flyteClient | nindent 8 }}
  authorizedUris:
    {{- with .authorizedUris }}
    {{- include "flyte.tpl" (dict "root" $ "value" .) | nindent 4 }}
    {{- end }}
    {{- range list "" (printf ".%s" $.Release.Namespace) (printf ".%s.svc" $.Release.Namespace) (printf ".%s.svc.cluster.local" $.Release.Namespace) }}
    - http://{{ $name }}{{ . }}:{{ include "flyte.httpPort" $ }}
    {{- end }}
  userAuth:
    openId:
      baseUrl: {{ required "configuration.auth.oidc.baseUrl is required with auth.enabled" .oidc.baseUrl | quote }}
      clientId: {{ required "configuration.auth.oidc.clientId is required with auth.enabled" .oidc.clientId | quote }}
      scopes: [profile, openid]
  {{- end }}
{{- end }}
