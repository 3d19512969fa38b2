@local @commit
Feature: A notebook or flow that can't be run is refused before anything runs

  Scenario: A notebook that is not JSON
    Given the file "500-broken.ipynb"
      """
      { "cells": [
      """
    When "tmplrun 500-broken.ipynb {place}/out/500-broken.ipynb" runs
    Then it ends with exit code 2
    And it says "500-broken.ipynb"
    And there is no file "out/500-broken.ipynb"

  Scenario: A notebook that is not JSON, in the middle of a flow: the notebooks before it don't run either
    Given a new folder with the notebooks
    And the file "051-users-add.ipynb"
      """
      not a notebook
      """
    When tmplrun runs the flow "main" with
      | compute_nodes | 1 |
    Then it ends with exit code 2
    And it says "051-users-add.ipynb"
    And no design file was written
    And the provider lists nothing of the cluster

  Scenario: A parameter that no notebook has
    Given a new folder with the notebooks
    When "tmplrun 010-parameters.ipynb {place}/out/010.ipynb --strict -p cluster {cluster} -p compute_node 3" runs
    Then it ends with exit code 2
    And it says "compute_node"
    And no design file was written

  Scenario: 020 without a design
    Given a new folder with the notebooks
    When tmplrun runs notebook 020
    Then it ends with exit code 1
    And it says "{cluster}"
    And the provider lists nothing of the cluster

  Scenario: A flow that doesn't exist
    Given a new folder with the notebooks
    When tmplrun runs the flow "mian" with
      | compute_nodes | 1 |
    Then it ends with exit code 2
    And it says "there is no flow called `mian`"
    And no design file was written
