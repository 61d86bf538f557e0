// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package database opens the site's PostgreSQL as flyteadmin does and keeps the
// projects in it.
package database

import (
	"context"
	"fmt"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	stdlib "github.com/flyteorg/flyte/flytestdlib/database"
	"github.com/flyteorg/flyte/flytestdlib/logger"
)

// maintenance is the database that every PostgreSQL server has.
const maintenance = "postgres"

// Open connects with the settings of section `database` and creates the
// database if the server does not have it.
func Open(ctx context.Context, cfg *stdlib.DbConfig) (*gorm.DB, error) {
	if !cfg.SQLite.IsEmpty() {
		return nil, fmt.Errorf("database.sqlite is set, but this test-bed server only knows PostgreSQL")
	}
	options := &gorm.Config{
		Logger:                                   stdlib.GetGormLogger(ctx, logger.GetConfig()),
		DisableForeignKeyConstraintWhenMigrating: !cfg.EnableForeignKeyConstraintWhenMigrating,
	}
	db, err := connect(cfg.Postgres, options)
	if stdlib.IsPgErrorWithCode(err, stdlib.PqInvalidDBCode) {
		logger.Warningf(ctx, "Database [%v] does not exist", cfg.Postgres.DbName)
		if err = create(ctx, cfg.Postgres, options); err == nil {
			db, err = connect(cfg.Postgres, options)
		}
	}
	if err != nil {
		return nil, err
	}
	pool, err := db.DB()
	if err != nil {
		return nil, err
	}
	pool.SetConnMaxLifetime(cfg.ConnMaxLifeTime.Duration)
	pool.SetMaxIdleConns(cfg.MaxIdleConnections)
	pool.SetMaxOpenConns(cfg.MaxOpenConnections)
	return db, nil
}

func connect(pg stdlib.PostgresConfig, options *gorm.Config) (*gorm.DB, error) {
	address, err := dsn(pg)
	if err != nil {
		return nil, err
	}
	return gorm.Open(postgres.Open(address), options)
}

func create(ctx context.Context, pg stdlib.PostgresConfig, options *gorm.Config) error {
	name := pg.DbName
	pg.DbName = maintenance
	db, err := connect(pg, options)
	if err != nil {
		return err
	}
	if pool, err := db.DB(); err == nil {
		defer pool.Close()
	}
	logger.Infof(ctx, "Creating database %v", name)
	// Unquoted as in Flyte: a name that needs quotes fails here as it does there.
	err = db.Exec("CREATE DATABASE " + name).Error
	if stdlib.IsPgErrorWithCode(err, stdlib.PqDbAlreadyExistsCode) {
		return nil
	}
	return err
}
