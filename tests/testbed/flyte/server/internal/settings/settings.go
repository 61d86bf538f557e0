// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package settings holds the sections of Flyte's configuration that belong to
// flyteadmin and to the single binary. All other sections (database, storage,
// logger, propeller, webhook, plugins, ...) are registered by the Flyte modules
// themselves.
package settings

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/flyteorg/flyte/flytestdlib/config"
)

// Parts says which parts of the single binary run (section `flyte`).
type Parts struct {
	Admin struct {
		Disabled                      bool          `json:"disabled"`
		DisableScheduler              bool          `json:"disableScheduler"`
		DisableClusterResourceManager bool          `json:"disableClusterResourceManager"`
		SeedProjects                  []string      `json:"seedProjects"`
		SeedProjectsWithDetails       []SeedProject `json:"seedProjectsWithDetails"`
	} `json:"admin"`
	Propeller struct {
		Disabled       bool `json:"disabled"`
		DisableWebhook bool `json:"disableWebhook"`
	} `json:"propeller"`
	DataCatalog struct {
		Disabled bool `json:"disabled"`
	} `json:"dataCatalog"`
}

// SeedProject is a project that exists from the first start on.
type SeedProject struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// Server is section `server`: what the API listens on and how uploads are signed.
type Server struct {
	HTTPPort   int    `json:"httpPort"`
	KubeConfig string `json:"kube-config"`
	Master     string `json:"master"`
	Security   struct {
		Secure  bool `json:"secure"`
		UseAuth bool `json:"useAuth"`
	} `json:"security"`
	GRPC struct {
		Port                int  `json:"port"`
		ServerReflection    bool `json:"serverReflection"`
		MaxMessageSizeBytes int  `json:"maxMessageSizeBytes"`
	} `json:"grpc"`
	DataProxy struct {
		Upload struct {
			MaxExpiresIn          config.Duration `json:"maxExpiresIn"`
			DefaultFileNameLength int             `json:"defaultFileNameLength"`
			StoragePrefix         string          `json:"storagePrefix"`
		} `json:"upload"`
		Download struct {
			MaxExpiresIn config.Duration `json:"maxExpiresIn"`
		} `json:"download"`
	} `json:"dataProxy"`
}

// Domain is one entry of section `domains`.
type Domain struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Domains is section `domains`: every project has each of them.
type Domains []Domain

// NamespaceMapping is section `namespace_mapping`.
type NamespaceMapping struct {
	Template string `json:"template"`
}

// ClusterResources is section `cluster_resources`.
type ClusterResources struct {
	TemplatePath string                `json:"templatePath"`
	TemplateData map[string]DataSource `json:"templateData"`
	// CustomData overlays TemplateData for one domain; the outer key is the domain.
	CustomData           map[string]map[string]DataSource `json:"customData"`
	RefreshInterval      config.Duration                  `json:"refreshInterval"`
	StandaloneDeployment bool                             `json:"standaloneDeployment"`
}

// DataSource says where the value of a template variable comes from.
type DataSource struct {
	Value     string `json:"value"`
	ValueFrom struct {
		Env      string `json:"env"`
		FilePath string `json:"filePath"`
	} `json:"valueFrom"`
}

// TaskResources is section `task_resources`.
type TaskResources struct {
	Defaults TaskResourceSet `json:"defaults"`
	Limits   TaskResourceSet `json:"limits"`
}

// TaskResourceSet is one set of quantities of TaskResources.
type TaskResourceSet struct {
	CPU              resource.Quantity `json:"cpu"`
	GPU              resource.Quantity `json:"gpu"`
	Memory           resource.Quantity `json:"memory"`
	EphemeralStorage resource.Quantity `json:"ephemeralStorage"`
}

// Admin is section `flyteadmin`: what every execution gets.
type Admin struct {
	RoleNameKey                 string            `json:"roleNameKey"`
	MetadataStoragePrefix       []string          `json:"metadataStoragePrefix"`
	EventVersion                int               `json:"eventVersion"`
	MaxParallelism              int32             `json:"maxParallelism"`
	Labels                      map[string]string `json:"labels"`
	Annotations                 map[string]string `json:"annotations"`
	Interruptible               bool              `json:"interruptible"`
	OverwriteCache              bool              `json:"overwriteCache"`
	AssumableIamRole            string            `json:"assumableIamRole"`
	K8SServiceAccount           string            `json:"k8sServiceAccount"`
	OutputLocationPrefix        string            `json:"outputLocationPrefix"`
	UseOffloadedWorkflowClosure bool              `json:"useOffloadedWorkflowClosure"`
	UseOffloadedInputs          bool              `json:"useOffloadedInputs"`
	Envs                        map[string]string `json:"envs"`
	ConsoleURL                  string            `json:"consoleUrl"`
	FeatureGates                struct {
		EnableArtifacts bool `json:"enableArtifacts"`
	} `json:"featureGates"`
	InjectIdentityAnnotations bool `json:"injectIdentityAnnotations"`
}

// RemoteData is section `remoteData`: how inputs and outputs get to clients.
type RemoteData struct {
	MaxSizeInBytes int64 `json:"maxSizeInBytes"`
	SignedURL      struct {
		Enabled bool `json:"enabled"`
	} `json:"signedUrls"`
}

// Registration is section `registration`: limits of what is registered; 0 means none.
type Registration struct {
	MaxWorkflowNodes     int    `json:"maxWorkflowNodes"`
	MaxLabelEntries      int    `json:"maxLabelEntries"`
	MaxAnnotationEntries int    `json:"maxAnnotationEntries"`
	WorkflowSizeLimit    string `json:"workflowSizeLimit"`
}

var (
	partsSection     = config.MustRegisterSection("flyte", &Parts{})
	serverSection    = config.MustRegisterSection("server", defaultServer())
	domainsSection   = config.MustRegisterSection("domains", defaultDomains())
	namespaceSection = config.MustRegisterSection("namespace_mapping", &NamespaceMapping{Template: "{{ project }}-{{ domain }}"})
	resourcesSection = config.MustRegisterSection("cluster_resources", &ClusterResources{
		TemplateData:    map[string]DataSource{},
		CustomData:      map[string]map[string]DataSource{},
		RefreshInterval: config.Duration{Duration: time.Minute},
	})
	taskSection = config.MustRegisterSection("task_resources", &TaskResources{
		Defaults: TaskResourceSet{CPU: resource.MustParse("2"), Memory: resource.MustParse("200Mi")},
		Limits:   TaskResourceSet{CPU: resource.MustParse("2"), Memory: resource.MustParse("1Gi"), GPU: resource.MustParse("1")},
	})
	adminSection = config.MustRegisterSection("flyteadmin", &Admin{
		MetadataStoragePrefix: []string{"metadata", "admin"},
		EventVersion:          2,
		MaxParallelism:        25,
	})
	remoteDataSection   = config.MustRegisterSection("remoteData", &RemoteData{MaxSizeInBytes: 2 << 20})
	registrationSection = config.MustRegisterSection("registration", &Registration{MaxWorkflowNodes: 100})
)

func defaultServer() *Server {
	s := &Server{HTTPPort: 8088}
	s.GRPC.Port = 8089
	s.GRPC.ServerReflection = true
	s.DataProxy.Upload.MaxExpiresIn.Duration = time.Hour
	s.DataProxy.Upload.DefaultFileNameLength = 20
	s.DataProxy.Download.MaxExpiresIn.Duration = time.Hour
	return s
}

func defaultDomains() *Domains {
	return &Domains{
		{ID: "development", Name: "development"},
		{ID: "staging", Name: "staging"},
		{ID: "production", Name: "production"},
	}
}

func GetParts() *Parts                       { return partsSection.GetConfig().(*Parts) }
func GetServer() *Server                     { return serverSection.GetConfig().(*Server) }
func GetDomains() Domains                    { return *domainsSection.GetConfig().(*Domains) }
func GetNamespaceMapping() *NamespaceMapping { return namespaceSection.GetConfig().(*NamespaceMapping) }
func GetClusterResources() *ClusterResources { return resourcesSection.GetConfig().(*ClusterResources) }
func GetTaskResources() *TaskResources       { return taskSection.GetConfig().(*TaskResources) }

func GetAdmin() *Admin               { return adminSection.GetConfig().(*Admin) }
func GetRemoteData() *RemoteData     { return remoteDataSection.GetConfig().(*RemoteData) }
func GetRegistration() *Registration { return registrationSection.GetConfig().(*Registration) }

// Namespace is where the objects of a project and domain live.
func Namespace(project, domain string) string {
	return strings.NewReplacer("{{ project }}", project, "{{ domain }}", domain).Replace(GetNamespaceMapping().Template)
}

// Unsupported names the first setting that Flyte has and this server does not,
// so that nobody takes a test for one that proved it.
func Unsupported() error {
	server := GetServer()
	switch {
	case server.Security.UseAuth:
		return fmt.Errorf("server.security.useAuth is true, but this test-bed server has no authentication: set configuration.auth.enabled to false or test with Flyte itself")
	case server.Security.Secure:
		return fmt.Errorf("server.security.secure is true, but this test-bed server does not serve TLS: let the ingress do it or test with Flyte itself")
	case GetClusterResources().StandaloneDeployment:
		return fmt.Errorf("cluster_resources.standaloneDeployment is true, but this test-bed server only knows the single binary: set it to false")
	case GetRemoteData().SignedURL.Enabled:
		return fmt.Errorf("remoteData.signedUrls.enabled is true, but this test-bed server only sends inputs and outputs themselves: set it to false")
	case GetAdmin().FeatureGates.EnableArtifacts:
		return fmt.Errorf("flyteadmin.featureGates.enableArtifacts is true, but this test-bed server has no artifacts: set it to false")
	case GetAdmin().InjectIdentityAnnotations:
		return fmt.Errorf("flyteadmin.injectIdentityAnnotations is true, but this test-bed server has no identities: set it to false")
	}
	return nil
}
