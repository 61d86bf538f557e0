// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package validate holds what flyteadmin checks in more than one kind of request.
package validate

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytepropeller/pkg/compiler/validators"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/settings"
)

const maxLabels = 16

// Projects reads one project.
type Projects interface {
	Get(ctx context.Context, identifier string) (*database.Project, error)
}

// Field is a required string and its name.
type Field struct{ Name, Value string }

// Set refuses the first field that is empty.
func Set(fields ...Field) error {
	for _, field := range fields {
		if field.Value == "" {
			return refusal.Missing(field.Name)
		}
	}
	return nil
}

// Scope is a project and a domain: what every list needs.
func Scope(project, domain string) error {
	return Set(Field{"project", project}, Field{"domain", domain})
}

// Identifier checks that all parts are there, and the kind.
func Identifier(id *core.Identifier, kind core.ResourceType) error {
	if id == nil {
		return refusal.Missing("id")
	}
	if id.GetResourceType() != kind {
		return refusal.Invalid("unexpected resource type %s for identifier [%v], expected %s instead",
			strings.ToLower(id.GetResourceType().String()), id, strings.ToLower(kind.String()))
	}
	return Complete(id)
}

// Asked checks the identifier of a request to read. A REST path says no kind, so none is as good as the right one.
func Asked(id *core.Identifier, kind core.ResourceType) error {
	if id != nil && id.GetResourceType() == core.ResourceType_UNSPECIFIED {
		return Complete(id)
	}
	return Identifier(id, kind)
}

// Complete checks that all parts of an identifier of any kind are there.
func Complete(id *core.Identifier) error {
	if id == nil {
		return refusal.Missing("id")
	}
	return Set(Field{"project", id.GetProject()}, Field{"domain", id.GetDomain()}, Field{"name", id.GetName()}, Field{"version", id.GetVersion()})
}

// Name checks the name of something registered, without a version.
func Name(id *admin.NamedEntityIdentifier) error {
	if id == nil {
		return refusal.Missing("id")
	}
	return Set(Field{"project", id.GetProject()}, Field{"domain", id.GetDomain()}, Field{"name", id.GetName()})
}

// Execution checks the name of an execution.
func Execution(id *core.WorkflowExecutionIdentifier) error {
	if id == nil {
		return refusal.Missing("id")
	}
	return Set(Field{"project", id.GetProject()}, Field{"domain", id.GetDomain()}, Field{"name", id.GetName()})
}

// Node checks the name of a node of an execution.
func Node(id *core.NodeExecutionIdentifier) error {
	if id == nil {
		return refusal.Missing("id")
	}
	if id.GetExecutionId() == nil {
		return refusal.Missing("execution_id")
	}
	if err := Set(Field{"node_id", id.GetNodeId()}); err != nil {
		return err
	}
	return Execution(id.GetExecutionId())
}

// Attempt checks the name of a task's attempt.
func Attempt(id *core.TaskExecutionIdentifier) error {
	if id == nil {
		return refusal.Missing("id")
	}
	if id.GetNodeExecutionId() == nil {
		return refusal.Missing("node_execution_id")
	}
	if err := Node(id.GetNodeExecutionId()); err != nil {
		return err
	}
	if id.GetTaskId() == nil {
		return refusal.Missing("task_id")
	}
	return Identifier(id.GetTaskId(), core.ResourceType_TASK)
}

// Place checks that something new may come into a project and domain.
func Place(ctx context.Context, projects Projects, project, domain string) error {
	row, err := projects.Get(ctx, project)
	if errors.Is(err, database.ErrNotFound) {
		return refusal.Invalid("project [%s] and domain [%s] are not registered: there is no such project", project, domain)
	}
	if err != nil {
		return refusal.FromDatabase(err, "project", project)
	}
	if *row.State != int32(admin.Project_ACTIVE) {
		return refusal.InactiveProject(project)
	}
	for _, known := range settings.GetDomains() {
		if known.ID == domain {
			return nil
		}
	}
	return refusal.Invalid("domain [%s] is unrecognized by system", domain)
}

// Labels checks labels by the rules of Kubernetes.
func Labels(labels *admin.Labels) error {
	if len(labels.GetValues()) > maxLabels {
		return refusal.Invalid("labels map cannot exceed %d entries", maxLabels)
	}
	for key, value := range labels.GetValues() {
		if problems := validation.IsQualifiedName(key); len(problems) > 0 {
			return refusal.Invalid("invalid label key [%s]: %v", key, problems)
		}
		if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
			return refusal.Invalid("invalid label value [%s]: %v", value, problems)
		}
	}
	return nil
}

// Literals checks that every literal of a map has a name and a value.
func Literals(literals *core.LiteralMap, what string) error {
	for name, literal := range literals.GetLiterals() {
		if name == "" {
			return refusal.Invalid("missing key in %s", what)
		}
		if literal.GetValue() == nil && literal.GetOffloadedMetadata() == nil {
			return refusal.Invalid("missing valid literal in %s %s", what, name)
		}
		if err := date(literal); err != nil {
			return err
		}
	}
	return nil
}

// Typed checks that a literal fits a type.
func Typed(name, what string, literal *core.Literal, wanted *core.LiteralType) error {
	got := validators.LiteralTypeForLiteral(literal)
	if err := validators.ValidateLiteralType(got); err != nil {
		return refusal.Invalid("literal type of [%s] is invalid: %v", name, err)
	}
	if !validators.AreTypesCastable(got, wanted) {
		return refusal.Invalid("invalid %s %s, wrong type: expected %v, but got %v", name, what, wanted, got)
	}
	return date(literal)
}

// Size refuses outputs that are too big for an event.
func Size(outputs *core.LiteralMap) error {
	if outputs == nil {
		return nil
	}
	if size, limit := int64(proto.Size(outputs)), settings.GetRemoteData().MaxSizeInBytes; size > limit {
		return refusal.TooLarge("output data size exceeds platform configured threshold (%d > %d)", size, limit)
	}
	return nil
}

func date(literal *core.Literal) error {
	moment := literal.GetScalar().GetPrimitive().GetDatetime()
	if moment == nil {
		return nil
	}
	if err := moment.CheckValid(); err != nil {
		return refusal.Invalid("%v", err)
	}
	return nil
}
